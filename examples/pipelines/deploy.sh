#!/bin/sh
# Deploy a release behind the edge: warm it, hold the present one, switch the origin, activate, look, and go back when
# anything fails on the way.
#
#   deploy.sh NAME MANIFEST...        of names without spaces
#
# From the environment:
#   EDGECACHE_ADMIN   URL of the admin listener, for example https://edge-admin.internal
#   EDGECACHE_TOKEN   the token; keep it among the pipeline's secrets
#   SITE              where clients ask, for example https://www.example.org
#   BASE              where the build is served; /static/
#   PAGES             pages to warm and to look at, separated by spaces; /
#                     the origin names their release: Edgecache-Release: NAME
#   UPLOAD            a command that adds the assets of the release to those the origin has; nothing
#   SWITCH            a command that makes the origin run the release
#   RESTORE           a command that makes it run the one before
#   VERIFY            a command that looks at the site when the release is active; by default curl fetches the pages
#   EDGECACHE_WAIT    seconds to wait for warming, and for confirmations; 120
#
# The commands get the release as $RELEASE. Exit codes are those of `edgecache deploy`, or of the command that failed.
set -eu

if [ "$#" -lt 2 ]; then
    echo "usage: SITE=URL SWITCH=COMMAND RESTORE=COMMAND deploy.sh NAME MANIFEST..." >&2
    exit 2
fi
: "${SITE:?}" "${SWITCH:?}" "${RESTORE:?}"
export RELEASE="$1"
shift
wait=${EDGECACHE_WAIT:-120}
pages=${PAGES:-/}

begin() {
    for manifest in $manifests; do
        set -- "$@" --manifest "$manifest"
    done
    edgecache deploy begin "$RELEASE" --url "$SITE" --base "${BASE:-/static/}" --wait "$wait" "$@"
}

look() {
    for page in $pages; do
        curl --fail --silent --show-error --output /dev/null "$SITE$page"
    done
}

go_back() {
    code=$?
    trap - EXIT
    [ "$code" -ne 0 ] || exit 0
    echo "deploy.sh: going back from $RELEASE" >&2
    if [ -z "$before" ]; then
        sh -c "$RESTORE" >&2 || :
        exit "$code"
    fi
    edgecache deploy rollback "$RELEASE" --wait "$wait" >&2 || :  # changes nothing if it is not active
    if sh -c "$RESTORE" >&2; then
        edgecache deploy activate "$before" --wait "$wait" >&2 || :  # nothing is held any more
    else
        echo "deploy.sh: the origin may run $RELEASE still, so $before stays held" >&2
    fi
    exit "$code"
}

manifests="$*"
before=$(edgecache deploy status --json | sed -n 's/^{"release":{"name":"\([^"]*\)".*/\1/p')

sh -c "${UPLOAD:-true}"
begin
trap go_back EXIT
if [ -n "$before" ] && [ "$before" != "$RELEASE" ]; then
    edgecache deploy hold "$RELEASE" --wait "$wait"
fi
sh -c "$SWITCH"
# shellcheck disable=SC2046 # one option for each page
begin $(printf -- '--page %s ' $pages)
edgecache deploy activate "$RELEASE" --wait "$wait"
if [ -n "${VERIFY:-}" ]; then
    sh -c "$VERIFY"
else
    look
fi
trap - EXIT
echo "deploy.sh: $RELEASE is deployed"
