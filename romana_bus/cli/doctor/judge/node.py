"""Judges what romana-bus has on a node: routes, links of pods, the plugin, the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.doctor.finding import ok, unseen, warning, wrong
from romana_bus.cni.spec import NEWEST

if TYPE_CHECKING:
    from romana_bus.cli.doctor.facts import Agent, Plugin, PodLinks, RouteDelta
    from romana_bus.cli.doctor.finding import Finding


def routes(delta: RouteDelta) -> Finding:
    """The routes to the blocks of other nodes."""
    if not delta.known:
        return wrong(
            f"the log knows no node {delta.node}",
            "its agent has no blocks for pods, and no routes",
            "name the node as Kubernetes does (--node-name), and see that the watcher runs",
        )
    if delta.missing or delta.surplus or delta.changed:
        counts = {"missing": delta.missing, "too many": delta.surplus, "different": delta.changed}
        return wrong(
            f"routes: {', '.join(f'{len(texts)} {what}' for what, texts in counts.items() if texts)}",
            "pods on other nodes are not reached, or by a wrong way",
            "see that the agent runs and reaches the log: it mends this within a minute; if it does not, its "
            "log says what the kernel refuses",
            (*delta.missing, *delta.surplus, *delta.changed),
        )
    if delta.refused:
        return wrong(
            f"routes refused: {len(delta.refused)}",
            "they would take away what this node lives on, so pods behind them are not reached",
            "move pods to a network that does not overlap (topology plan)",
            (f"{prefix}: {why}" for prefix, why in delta.refused.items()),
        )
    return ok(f"routes to blocks of other nodes: {delta.routes}, as the log wants them")


def pod_links(links: PodLinks) -> Finding:
    if links.drifts or links.gone:
        texts = [f"{link}: {'; '.join(what)}" for link, what in sorted(links.drifts.items())]
        return wrong(
            f"links of pods: {len(links.drifts)} changed, {len(links.gone)} gone, of {links.links}",
            "these pods are not reached, or not fully",
            "see that the agent runs: it mends links at once; pods whose link is gone have to be recreated",
            (*texts, *(f"{link}: gone" for link in links.gone)),
        )
    return ok(f"links of pods: {links.links}, as they were made")


def runtime(plugin: Plugin) -> Finding:
    """Which network configuration the container runtime reads."""
    if plugin.trouble:
        return wrong(
            plugin.trouble,
            "where the container runtime looks for network plugins is not known",
            "mend the file, or name the directories with --bin-dir and --conf-dir",
        )
    where = f"{plugin.runtime} reads {plugin.conf_dir} and {plugin.bin_dir}"
    if not plugin.first:
        return wrong(
            f"{where}: there is no network configuration",
            "the node stays NotReady, and pods get no network",
            "romana-bus agent install-cni",
        )
    if plugin.first != plugin.ours:
        return wrong(
            f"{where}: it uses {plugin.first}",
            "pods get their network from another plugin, with other addresses",
            f"remove {plugin.first}"
            if plugin.ours
            else f"remove {plugin.first}, and run romana-bus agent install-cni",
        )
    return ok(f"{where}: it uses {plugin.ours}")


def plugin(plugin: Plugin) -> Finding:
    """The executable, and our configuration."""
    install = "romana-bus agent install-cni"
    if plugin.trouble:
        return unseen("where the container runtime looks for network plugins is not known")
    if not plugin.present:
        return wrong(f"{plugin.bin_dir} has no romana-cni", "no pod gets a network here", install)
    if not plugin.versions:
        return wrong(
            f"{plugin.bin_dir}/romana-cni does not work",
            "no pod gets a network here",
            f"run it with CNI_COMMAND=VERSION to see why (another architecture, no python3), then {install}",
        )
    if not plugin.ours:
        return wrong(f"{plugin.conf_dir} has no configuration with romana-cni", "pods do not use it", install)
    if plugin.invalid:
        return wrong(
            f"{plugin.ours}: {plugin.invalid}", "the runtime refuses it: no pod gets a network here", install
        )
    if plugin.socket != plugin.expected:
        return wrong(
            f"{plugin.ours} names the agent's socket {plugin.socket}, and it should be {plugin.expected}",
            "romana-cni does not find the agent: pods stay in ContainerCreating",
            f"{install} with the agent's --run-dir",
        )
    return _chained(plugin)


def _chained(plugin: Plugin) -> Finding:
    missing = [each.name for each in plugin.chained if each.versions is None]
    broken = [each.name for each in plugin.chained if each.versions == ()]
    older = [each.name for each in plugin.chained if each.versions and plugin.version not in each.versions]
    if missing or broken or older:
        texts = [f"{name}: not in {plugin.bin_dir}" for name in missing]
        texts += [f"{name}: does not work" for name in broken]
        texts += [f"{name}: does not know CNI {plugin.version}" for name in older]
        return wrong(
            f"{plugin.ours} chains plugins that cannot be used",
            "the runtime fails every pod here at that plugin",
            "install these plugins (containernetworking-plugins), or run romana-bus agent install-cni, which "
            "chains what is there",
            texts,
        )
    if plugin.version not in plugin.versions:
        return wrong(
            f"{plugin.ours} has CNI {plugin.version}, and romana-cni knows {', '.join(plugin.versions)}",
            "the runtime fails every pod here",
            "romana-bus agent install-cni",
        )
    if plugin.version != NEWEST:
        oldest = [each.name for each in plugin.chained if each.versions and NEWEST not in each.versions]
        return warning(
            f"{plugin.ours} has CNI {plugin.version}",
            "the runtime cannot call STATUS and GC: a node without a working agent stays Ready, and leaks "
            "are only found by the agent itself",
            f"update {', '.join(oldest)} to a version built with libcni 1.2 (2024) or newer, then run "
            "romana-bus agent install-cni"
            if oldest
            else "romana-bus agent install-cni",
        )
    chain = "".join(f", {each.name}" for each in plugin.chained)
    return ok(f"CNI {plugin.version}: romana-cni{chain}")


def agent(agent: Agent) -> Finding:
    waiting = f"; deletions of pods that wait for it: {agent.spooled}" if agent.spooled else ""
    if agent.trouble:
        return wrong(
            f"the agent does not answer at {agent.socket}: {agent.trouble}{waiting}",
            "no pod can be attached here; running pods keep their network",
            "start romana-bus agent, and read its log",
        )
    if agent.code:
        return wrong(
            f"the agent is not ready: {agent.text}{waiting}",
            "Kubernetes shows the node as NotReady, and new pods fail",
            "see the other findings, and the agent's log",
        )
    return ok(f"the agent answers, and is ready{waiting}")
