#!/usr/bin/env bash
# need.sh PROGRAM:PACKAGE[,PACKAGE…] …   installs the Debian packages whose program is missing, and says so.
set -euo pipefail

missing=() programs=()
for pair in "$@"; do
    program=${pair%%:*} packages=${pair#*:}
    case $program in
        # python-venv is no program: Debian leaves ensurepip out of python3
        ensurepip) "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null && continue ;;
        *) command -v "$program" >/dev/null && continue ;;
    esac
    programs+=("$program") missing+=(${packages//,/ })
done
[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get install -y --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "missing: ${programs[*]}; this is no Debian or Ubuntu, install what Debian calls: ${missing[*]}" >&2
    exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "missing: ${programs[*]}; as root, run: apt-get update && $install" >&2
        exit 1
    fi
    sudo=(sudo)
fi
echo "missing: ${programs[*]}; installing with apt: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq </dev/null
# shellcheck disable=SC2086
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive $install -qq </dev/null >/dev/null || {
    echo "apt could not install ${missing[*]}; run it yourself to see why: ${sudo[*]} $install" >&2
    exit 1
}
