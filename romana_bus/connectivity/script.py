"""The script that probe pods run, in a shell of any image, and the lines that it prints. Pure.

A probe needs no capability: it connects by TCP, since ping needs a raw socket or a sysctl of the pod. The
client and the listener are BusyBox's nc, or Perl, which the base images of Debian and Ubuntu have. The
listener answers with its name, so an answer from a wrong pod is noticed.

    ok INDEX            the check succeeded
    no INDEX WHY        it failed, twice in a row
    fatal WHY           nothing can be tested with this image
    end                 all checks are done
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.connectivity.model import Check, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds to connect, and for an attempt as a whole, on a busy node too; attempts; checks that run at the
#: same time, and how many of them with Perl, which takes a hundred times as much of the processor.
_CONNECT, _ANSWER, _TRIES, _AT_ONCE, _AT_ONCE_IN_PERL = 4, 15, 2, 16, 4
#: The most characters of an error that are kept.
_MOST = 200

_LISTEN = """\
my ($port, $name) = @ARGV; my $socket;
for my $host ("::", "0.0.0.0") {
  $socket = IO::Socket::IP->new(LocalHost => $host, LocalPort => $port, Type => SOCK_STREAM, Listen => 128,
                                ReuseAddr => 1, V6Only => 0) and last;
}
$socket or die "cannot listen: $@\\n";
$SIG{PIPE} = "IGNORE";
while (1) { my $peer = $socket->accept or next; print $peer "$name\\n"; close $peer; }
"""

_DIAL = """\
my ($host, $port) = @ARGV;
my $socket = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Type => SOCK_STREAM,
                                 Timeout => $ENV{CONNECT}) or die "$@\\n";
shutdown $socket, 1; my $line = <$socket>; print $line // "";
"""

SCRIPT = r"""
tool=
for each in "busybox nc" nc; do
  case "$($each --help 2>&1)" in
  *BusyBox*-ll*-e*) tool=$each stay=-ll; break;;
  *BusyBox*-lk*-e*|*BusyBox*-e*-lk*) tool=$each stay=-lk; break;;
  esac
done
[ "$tool" ] || { perl -MIO::Socket::IP -e 1 2>/dev/null && tool=perl; }
[ "$tool" ] || { echo "fatal the image has neither BusyBox's nc nor Perl"; exit 3; }

dial() { # ADDRESS PORT
  case $tool in
  perl) timeout "$ANSWER" perl -MIO::Socket::IP -e "$DIAL" "$1" "$2";;
  *) timeout "$ANSWER" $tool -w "$CONNECT" "$1" "$2";;
  esac
}

check() { # INDEX ADDRESS PORT SAYS
  try=0
  while :; do
    said=$(dial "$2" "$3" 2>&1 </dev/null); code=$?
    case $4:$code:$said in
    +:0:*|-:0:*|-:*[Rr]efused*|"$4:0:$4") echo "ok $1"; return;;
    *:0:?*) said="answered by $said";;
    *:0:) said="closed without an answer";;
    *:124:*|*:137:*|*:143:*) said="timed out";;
    esac
    try=$((try + 1)); [ $try -lt "$TRIES" ] || break
    sleep 1
  done
  echo "no $1" $said
}

role=$1; shift
case $role in
listen) # PORT NAME
  case $tool in
  perl) exec perl -MIO::Socket::IP -e "$LISTEN" "$@";;
  *) exec $tool -llllllll $stay -p "$1" -e echo "$2";; # each l makes the queue longer
  esac;;
dial)
  [ "$tool" != perl ] || AT_ONCE=$AT_ONCE_IN_PERL
  n=0
  for each; do
    check $each &
    n=$((n + 1)); [ $((n % AT_ONCE)) -ne 0 ] || wait
  done
  wait
  echo end;;
esac
"""

#: The environment of the script: its numbers, and what Perl runs.
ENVIRONMENT = {
    "CONNECT": str(_CONNECT),
    "ANSWER": str(_ANSWER),
    "TRIES": str(_TRIES),
    "AT_ONCE": str(_AT_ONCE),
    "AT_ONCE_IN_PERL": str(_AT_ONCE_IN_PERL),
    "LISTEN": _LISTEN,
    "DIAL": _DIAL,
    "LC_ALL": "C",
}


def listen(port: int, name: str) -> list[str]:
    """The command of a listener that answers with `name`."""
    return ["sh", "-c", SCRIPT, "probe", "listen", str(port), name]


def dial(checks: Sequence[Check]) -> list[str]:
    """The command of a probe that makes these checks; their places in the list are the indexes."""
    lines = [f"{index} {each.address} {each.port} {each.says}" for index, each in enumerate(checks)]
    return ["sh", "-c", SCRIPT, "probe", "dial", *lines]


def longest(checks: int) -> float:
    """Seconds that a probe takes at most for so many checks."""
    return float(-(-checks // _AT_ONCE_IN_PERL) * _TRIES * (_ANSWER + 1))


class Printed(NamedTuple):
    """What a probe printed. `why`: why it did not make all checks, or ''."""

    outcomes: tuple[Outcome, ...]
    why: str


def read(log: str, checks: Sequence[Check]) -> Printed:
    """The outcomes in a probe's output. Lines that are not the script's are only used as a reason."""
    outcomes: dict[int, Outcome] = {}
    other, fatal, ended = "", "", False
    for line in log.splitlines():
        match line.split(maxsplit=2):
            case ["end"]:
                ended = True
            case [("ok" | "no") as word, index, *said] if _is_index(index, checks):
                check = checks[int(index)]
                why = "" if word == "ok" else " ".join(said)[:_MOST] or "no answer"
                outcomes[int(index)] = Outcome(check, word == "ok", why)
            case ["fatal", *_]:
                fatal = line.removeprefix("fatal ")
            case [_, *_]:
                other = line[:_MOST]
    missing = len(checks) - len(outcomes)
    why = fatal or (f"{missing} checks were not made: {other or 'it was ended early'}" if missing else "")
    if not why and not ended:
        why = "it was ended early"
    return Printed(tuple(outcomes[index] for index in sorted(outcomes)), why)


def _is_index(text: str, checks: Sequence[Check]) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(checks)
