# Runs in a new Debian root: trust this machine's certificates, and install packages.
set -e
update-ca-certificates
if [ $# -gt 0 ]; then
  apt-get update -q
  apt-get install -q -y --no-install-recommends "$@"
fi
rm -rf /var/lib/apt/lists/*
# The image stands in for the official one of Python, whose program is `python`.
[ ! -e /usr/bin/python3 ] || ln -s /usr/bin/python3 /usr/local/bin/python
