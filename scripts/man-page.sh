#!/bin/sh
# man-page.sh DARKNET: prints darknet-distill(1), which is docs/darknet-distill.1 with the usage
# and the options that this DARKNET's --help has.
set -eu
darknet=$1
docs=$(cd "$(dirname "$0")/../docs" && pwd)

help() { # COMMAND: its lines, as roff takes them
    "$darknet" "$1" --help | sed 's/\\/\\e/g; s/-/\\-/g; s/^\./\\\&./'
}

synopsis() {
    for command in distill deepkd; do
        help $command | sed -n '
            s/^usage: \(darknet distill\|darknet deepkd [a-z]*\) *\(.*\)/.B \1\n\2\n.br/; T
            s/\n\n/\n/; p'
    done | sed '$d'
}

options() { # COMMAND
    help "$1" | sed -n '
        s/^usage: \(darknet deepkd [a-z]*\).*/.SS \1/p
        s/^  \([^ ]*\) \([^ ][^ ]*\)   *\(.*\)/.TP\n.BI "\1 " \2\n\3/p; t
        s/^  \([^ ]*\)   *\(.*\)/.TP\n.B \1\n\2/p; t
        /^Training is/d; /^[A-Z]/p'
}

version=$("$darknet" deepkd version | sed -n '1s/.* //p')
while IFS= read -r line; do
    case $line in
    @synopsis@) synopsis ;;
    @distill@ | @deepkd@) line=${line#@} && options "${line%@}" ;;
    *) printf '%s\n' "$line" | sed "s/@version@/$version/" ;;
    esac
done <"$docs/darknet-distill.1"
