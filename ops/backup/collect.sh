#!/bin/sh
# Collects MySQL's client programs in a folder, /opt/mysql unless it is named, with the libraries and the loader that
# they were linked against: so they run in an image of another system. Fails without the first two; images of MySQL
# 8.0.30 and later may lack the third.
set -eu
to=${1:-/opt/mysql}
mkdir -p $to/bin $to/lib $to/programs
for name in mysql mysqldump mysqlbinlog; do
    found=$(command -v $name || true)
    if [ -z "$found" ]; then
        [ $name = mysqlbinlog ] && continue
        echo "this image has no $name" >&2
        exit 1
    fi
    cp -L "$found" $to/programs/$name
    for library in $(ldd "$found" | grep -o '/[^ ]*'); do cp -L "$library" $to/lib/; done
    loader=$(basename "$(ls $to/lib/ld-linux* | head -n 1)")
    printf '#!/bin/sh\nexec %s/lib/%s --library-path %s/lib %s/programs/%s "$@"\n' \
        $to "$loader" $to $to $name > $to/bin/$name
    chmod +x $to/bin/$name
done
