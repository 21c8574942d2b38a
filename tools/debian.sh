#!/bin/sh
# Make sure of the Debian packages that this tree needs: `sh tools/debian.sh build test`.
#
#   build   what `make run` needs: Python 3.11 with venv and headers, a C compiler
#   test    what the tests need beside it: cmocka, peers and tools to look at packets with
#
# What is there already is left alone, wherever it came from.  As root the rest is
# installed, and no service is started by that; anybody else is told the command.
# PYTHON names the interpreter (python3).
set -eu
PATH=$PATH:/usr/sbin:/sbin
python=${PYTHON:-python3}
missing=

want() { # PACKAGE TEST...: the package is missing when the test fails
    package=$1
    shift
    if ! "$@" >/dev/null 2>&1; then missing="$missing $package"; fi
}

has() { command -v "$1"; }

compiles() { echo '#include <stdio.h>' | cc -E -; }

python_has() { "$python" -c "$1"; }

find_missing() {
    missing=
    for group in "$@"; do
        case $group in
        build)
            want python3 has "$python"
            want python3-venv python_has 'import ensurepip, venv'
            want python3-dev python_has \
                'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
            want gcc has cc
            want libc6-dev compiles
            want make has make
            ;;
        test)
            want pkg-config has pkg-config
            want libcmocka-dev pkg-config --exists cmocka
            want iproute2 has ip
            want iputils-ping has ping
            want procps has sysctl
            want util-linux has unshare
            want ethtool has ethtool
            want iperf3 has iperf3
            want tcpdump has tcpdump
            want tshark has tshark
            want openvswitch-switch has ovs-vswitchd
            want prometheus has promtool
            want chromium has chromium
            want systemd has systemd-analyze
            want binutils has readelf
            ;;
        *)
            echo "tools/debian.sh: no group $group" >&2
            exit 2
            ;;
        esac
    done
}

install_missing() {
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    lock='-o DPkg::Lock::Timeout=300'
    # Word splitting is meant: a list of packages, an option and its value.
    apt-get $lock -qq update
    apt-get $lock -qq -o Dpkg::Use-Pty=0 install --no-install-recommends -y $missing </dev/null >/dev/null
}

find_missing "$@"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! has apt-get >/dev/null; then
        echo "This needs Debian packages that are not there. As root:" >&2
        echo "    apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing Debian packages:$missing"
    install_missing
    find_missing "$@"
    if [ -n "$missing" ]; then
        echo "installed, and still missing:$missing" >&2
        exit 1
    fi
fi
if ! python_has 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$python is older than Python 3.11; name another: make PYTHON=python3.12 ..." >&2
    exit 1
fi
