#!/bin/sh
# Makes DIR, the identities of a cluster, as a kustomization of Secrets; or adds nodes to it. It holds secret
# keys: keep it out of version control.
#
#     deploy/identities.sh DIR NODE...      for example $(kubectl get nodes -o name | cut -d/ -f2)
set -eu
umask 077

if [ $# -lt 2 ]; then
  echo "usage: $0 DIR NODE..." >&2
  exit 2
fi
dir=$1
shift
[ -e "$dir/identities.json" ] || romana-bus auth init "$dir" >/dev/null
count=$#
for node in "$@"; do
  [ -e "$dir/creds/agent-$node.nk" ] || set -- "$@" --node "$node"
done
shift "$count"
[ $# -eq 0 ] || romana-bus auth add "$dir" agent "$@" >/dev/null
# With this password, NATS servers let each other in.
[ -e "$dir/route.env" ] || printf 'ROUTE_PASSWORD=p%s\n' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >"$dir/route.env"

{
  cat <<END
# Written by identities.sh, which writes it again when nodes are added.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
secretGenerator:
  - name: romana-bus-server
    files: [server.conf]
    envs: [route.env]
  - name: romana-bus-watcher
    files: [creds/watcher.nk]
  - name: romana-bus-ipam
    files: [creds/ipam.nk]
  - name: romana-bus-agents
    files:
END
  for file in "$dir"/creds/agent-*.nk; do
    echo "      - creds/${file##*/}"
  done
} >"$dir/kustomization.yaml"
