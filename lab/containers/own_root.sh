# Runs in the engine's new namespaces, as their first process, which becomes dockerd: with the root, the
# folder of what is kept between runs, and the one that the machine shares.
set -eu
root=$1 kept=$2 shared=$3
mount --make-rprivate /
mount --bind "$root" "$root"
for folder in sys dev; do mount --rbind /$folder "$root/$folder"; done
mount -t proc proc "$root/proc"
for folder in run tmp; do mount -t tmpfs tmpfs "$root/$folder"; done
mkdir -p "$root/var/lib/docker" "$root$shared" "$root/oldroot"
mount --bind "$kept" "$root/var/lib/docker"
mount --bind "$shared" "$root$shared"
cd "$root"
pivot_root . oldroot
umount -l /oldroot
exec dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false
