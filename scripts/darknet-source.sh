#!/bin/sh
# darknet-source.sh DEST: fills DEST with Darknet's source at the commit below, unchanged, or
# says why not in one line, exits 1 and leaves DEST as it was. In this order:
#   1. DARKNET_SRC=/path, a clone or an unpacked archive; never anything else if it is set
#   2. the submodule darknet/, if it is filled
#   3. the submodule, fetched
#   4. Debian's source package, by the machine's own apt settings; no system file is changed
# A DEST that is there already is complete: then only DARKNET_SRC is checked.
set -eu

COMMIT=61c9d02ec461e30d55762ec7669d6a1d3c356fb2
# of what `sums` prints for that commit
TREE_SHA256=6bfabc75f5bcbbe7662e29c3a6abe5f9843ab5dfe739cb5b530f543a95df1b81
# of Debian's darknet_*.orig.tar.xz
ORIG_SHA256=ec536ae11853846aab96183d8ec18730a46cce71f7d935768d235029329f9e93

root=$(cd "$(dirname "$0")/.." && pwd)
dest=$1

die() {
    echo "darknet-source: $*" >&2
    exit 1
}

sums() { # of the files that the build reads
    (cd "$1" && find Makefile src include examples -type f | LC_ALL=C sort |
        xargs sha256sum | sha256sum | cut -d ' ' -f 1)
}

# check DIR: DIR is a clean clone at COMMIT, or holds its files
check() {
    [ -f "$1/Makefile" ] && [ -d "$1/src" ] && [ -d "$1/include" ] && [ -d "$1/examples" ] ||
        die "no Darknet source in $1"
    if [ -e "$1/.git" ] && found=$(git -C "$1" rev-parse HEAD 2>/dev/null); then
        [ "$found" = $COMMIT ] || die "$1 is at commit $found, expected $COMMIT"
        changed=$(git -C "$1" status --porcelain --untracked-files=no | head -n 1)
        [ -z "$changed" ] || die "$1 has local changes (${changed#???}), expected none"
    else
        found=$(sums "$1")
        [ "$found" = $TREE_SHA256 ] ||
            die "$1 is not Darknet $COMMIT: checksum $found, expected $TREE_SHA256"
    fi
}

# fill DIR: copies what belongs to Darknet, and no objects or weights of a user, to DEST
fill() {
    mkdir "$tmp/tree"
    if [ -e "$1/.git" ] && git -C "$1" rev-parse HEAD >/dev/null 2>&1; then
        git -C "$1" archive HEAD | tar -x -C "$tmp/tree"
    else
        (cd "$1" && cp -a Makefile src include examples cfg data LICENSE* "$tmp/tree/")
    fi
    mv "$tmp/tree" "$dest"
}

# The machine's `deb` entries that have Debian's component main, as `deb-src` entries in DIR.
# One-line files (*.list) and paragraphs (*.sources) stay what they are.
deb_src_entries() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^[[:space:]]*deb[[:space:]]\(.*[[:space:]]main\)\b/deb-src \1/p' >"$1/debian.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$file" ] || { cat "$file"; echo; }
    done | awk 'BEGIN { RS = ""; ORS = "\n\n" }
        /(^|\n)Enabled:[ \t]*no/ { next }
        /(^|\n)Types:[^\n]*deb/ && /(^|\n)Components:[^\n]*[ \t]main/ {
            gsub(/(^|\n)Types:[^\n]*/, "\nTypes: deb-src")
            print
        }' >"$1/debian.sources"
}

# from_debian DIR: downloads Darknet's source package to DIR and unpacks it there
from_debian() {
    mkdir -p "$1/sources.list.d" "$1/state/lists/partial" "$1/cache/archives/partial"
    deb_src_entries "$1/sources.list.d"
    # the hooks after an update would change files of the system
    cat >"$1/apt.conf" <<END
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$1/sources.list.d";
Dir::State "$1/state";
Dir::State::lists "lists";
Dir::Cache "$1/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    cd "$1"
    apt-get -qq -c "$1/apt.conf" update >"$1/log" 2>&1 || true # judged by what comes next
    # the tar alone: what Debian adds to it differs from suite to suite
    apt-get -qq -c "$1/apt.conf" source --download-only --tar-only darknet >>"$1/log" 2>&1 ||
        die "no Darknet source from Debian: $(grep '^E:' "$1/log" | tail -n 1)" \
            "(DARKNET_SRC=/path gives one by hand)"
    set -- darknet_*.orig.tar.xz
    found=$(sha256sum "$1" | cut -d ' ' -f 1)
    [ "$found" = $ORIG_SHA256 ] || die "$1: checksum $found, expected $ORIG_SHA256"
    tar --no-same-owner -xf "$1"
}

tmp=
trap '[ -z "$tmp" ] || rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

if [ -n "${DARKNET_SRC:-}" ]; then
    check "$DARKNET_SRC"
fi
[ ! -e "$dest" ] || exit 0

case $dest in /*) ;; *) dest=$PWD/$dest ;; esac
mkdir -p "$(dirname "$dest")"
tmp=$(mktemp -d "$dest.XXXXXX") # beside DEST, so that moving it there is one step

if [ -n "${DARKNET_SRC:-}" ]; then
    fill "$DARKNET_SRC"
    exit 0
fi

cd "$root"
"$root/scripts/deps.sh" check source
if [ ! -f darknet/Makefile ] && [ -e .git ]; then
    echo "fetching Darknet from GitHub"
    GIT_TERMINAL_PROMPT=0 GIT_HTTP_LOW_SPEED_LIMIT=1000 GIT_HTTP_LOW_SPEED_TIME=5 \
        timeout 10 git submodule --quiet update --init --depth 1 darknet >/dev/null 2>&1 || true
fi
if [ -f darknet/Makefile ]; then
    check darknet
    fill darknet
else
    echo "fetching Darknet's source package from Debian"
    (from_debian "$tmp")
    check "$tmp/darknet"
    fill "$tmp/darknet"
fi
