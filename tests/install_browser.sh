#!/bin/sh
# Makes sure that there is a Chromium for the tests of the Unleash console: Debian's, or else Playwright's own.
set -eu
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
echo "Installing Chromium for the browser tests ..."
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
playwright install chromium && exit 0
echo "No Chromium could be installed; install one so that 'chromium' is on the PATH, and try again" >&2
exit 1
