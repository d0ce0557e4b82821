#!/usr/bin/env bash
# A short search against an OpenAI-compatible server; without arguments, against loopback_server.py on this machine.
# Usage: examples/openai_compatible.sh [URL MODEL]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$here/../.venv/bin:$PATH
work=$(mktemp -d)

url=${1:-} model=${2:-scripted}
if [ -z "$url" ]; then
  mkfifo "$work/address"
  python "$here/loopback_server.py" > "$work/address" &
  trap 'kill $!' EXIT
  read -r url < "$work/address"
  rm "$work/address"
fi

cd "$work"
diffnas-agent run --llm "openai:$model" --base-url "$url" --rounds 2 --budget 2M --baseline b8-n1-m1.1.1.1-a0000 \
  --train-steps 40 --batch-size 16 --num-images 32 --sampling-steps 5
diffnas-agent memory sql "SELECT round, spec, proposer, reason FROM results ORDER BY round"
echo "memory and images: $work"
