#!/bin/sh
# Makes sure that there is a Prometheus for the tests of fleets: the system's, or Debian's unpacked into build/.
set -eu
command -v prometheus >/dev/null && exit 0
[ -x build/prometheus/usr/bin/prometheus ] && exit 0
echo "Fetching Prometheus for the tests of fleets ..."
if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    mkdir -p build/prometheus
    cd build/prometheus
    apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
    dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb && exit 0
fi
echo "No Prometheus could be fetched; install one so that 'prometheus' is on the PATH, and try again" >&2
exit 1
