# Runs with /usr of a Debian root, in a mount namespace of its own: a module in an environment of that root's Python.
set -eu
venv=$1 django=$2 purpose=$3
shift 3
mkdir -p "$venv" .venv
mount --bind "$venv" .venv
python3 scripts/bootstrap.py "$purpose"
if [ -n "$django" ]; then
  .venv/bin/python -m pip install --quiet --no-input --require-hashes --no-deps -r "requirements-django-$django.txt"
fi
exec .venv/bin/python -m "$@"
