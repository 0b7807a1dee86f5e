#!/bin/sh
# Purge what a deploy has changed, and fail unless every process of the edge has confirmed it.
#
#   purge-after-deploy.sh --tag release --prefix shop.example/assets
#
# Arguments go to `edgecache purge` as they are. From the environment:
#   EDGECACHE_ADMIN          URL of the admin listener, for example https://edge-admin.internal
#   EDGECACHE_TOKEN          the token; keep it among the pipeline's secrets
#   EDGECACHE_MIN_MATCHED    fail when fewer responses matched in the process that was asked; 1
#   EDGECACHE_WAIT           seconds to wait for confirmations; 30
#   EDGECACHE_TRIES          how often to try while no edge answers, 2 seconds apart; 3
#
# Exit codes are those of `edgecache purge`: 0 confirmed, 1 failed or too few matched, 2 usage, 3 no edge answered,
# 4 not confirmed by every process, 5 nor within the wait.
set -eu

if [ "$#" -eq 0 ]; then
    echo "usage: purge-after-deploy.sh [URL]... [--tag TAG]... [--prefix PATH]... [other options of edgecache purge]" >&2
    exit 2
fi

tries=${EDGECACHE_TRIES:-3}
while :; do
    code=0
    edgecache purge --wait "${EDGECACHE_WAIT:-30}" --min-matched "${EDGECACHE_MIN_MATCHED:-1}" "$@" || code=$?
    tries=$((tries - 1))
    if [ "$code" -ne 3 ] || [ "$tries" -le 0 ]; then
        exit "$code"
    fi
    echo "purge-after-deploy.sh: trying again" >&2
    sleep 2
done
