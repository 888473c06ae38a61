#!/bin/sh
# Chromium for the browser tests: does nothing where there is one, else asks Debian's or Ubuntu's package manager.
set -eu
for name in "${LIBASIS_CHROMIUM:-}" chromium chromium-browser google-chrome-stable google-chrome; do
  if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if ! command -v apt-get >/dev/null 2>&1; then
  echo "No Chromium and no apt-get: install Chromium, or name one in LIBASIS_CHROMIUM; its tests are skipped until then." >&2
  exit 0
fi
sudo=""
if [ "$(id -u)" != 0 ]; then sudo="sudo -n"; fi
echo "Installing Chromium for the browser tests." >&2
if ! { $sudo apt-get update -qq && $sudo apt-get install -qq -y --no-install-recommends chromium fonts-noto-cjk >/dev/null; }; then
  echo "Chromium could not be installed; its tests are skipped, or fail where CI is set." >&2
fi
