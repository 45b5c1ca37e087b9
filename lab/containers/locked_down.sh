# Fails unless the container is read-only, has no capability and no way to one, and is not root. The last line
# prints `it is`, by which the check is passed.
grep "^CapBnd:.0*$" /proc/1/status
grep "^CapEff:.0*$" /proc/1/status
grep "^NoNewPrivs:.1" /proc/1/status
# The account `firstcome` of the Dockerfile.
if [ "$(id -u)" != 10001 ] || touch /app/x; then exit 1; fi
touch /tmp/y && rm /tmp/y && echo it is
