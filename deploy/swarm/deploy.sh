#!/usr/bin/env bash
# Deploys the compose file of this repository as a Swarm stack on this node, a manager:
#   bash deploy/swarm/deploy.sh [NAME]      NAME: the stack's, muster by default
# The same settings count as for docker compose. docs/attach.md says how other nodes' workers join.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export COMPOSE_PROJECT_NAME=${1:-muster}
node=$(docker info --format '{{.Swarm.NodeID}}')
[[ -n $node ]] || { echo "this engine is in no swarm; run 'docker swarm init' first" >&2; exit 2; }
# The passwords and certificates first: a database that comes up without them stays without.
docker compose run --rm --no-deps --no-TTY secrets
# Compose made a network for it, which a running compose stack would keep.
docker network rm "${COMPOSE_PROJECT_NAME}_default" >/dev/null 2>&1 || true
docker compose config --format json \
  | python3 deploy/swarm/stack.py "$node" \
  | docker stack deploy --resolve-image never --compose-file - "$COMPOSE_PROJECT_NAME"
