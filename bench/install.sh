#!/usr/bin/env bash
# the peers and the plotting library, where they are not there yet
cd "$(dirname "$0")" || exit 1
[ -f node_modules/.package-lock.json ] || npm ci --no-audit --no-fund
