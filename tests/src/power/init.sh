#!/usr/bin/busybox sh
# First process of the virtual machine: disk, network, clock, agent. What it says to the test
# begins with @ (tests/src/power/console.rs). What begins with lineside_ the kernel hands over from
# its command line: which boot this is, the port that tells the time, a library to load first.
/usr/bin/busybox mkdir -p /bin /dev /proc /sys /mnt /tmp
/usr/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin
mount -t devtmpfs d /dev
mount -t proc p /proc
mount -t sysfs s /sys
exec </dev/console >/dev/console 2>&1
while read -r module; do
    insmod "$module" || echo "cannot load $module"
done </modules
ifconfig lo 127.0.0.1 up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up

echo @mounting
mount -t ext4 -o data=ordered /dev/vda /mnt || exit 1
dmesg | grep -q 'EXT4-fs (vda): recovery complete' && echo @recovered
for file in /mnt/unsynced-*; do
    [ -e "$file" ] && echo "@left ${file##*-} $(wc -l <"$file")"
done

# What nobody syncs is lost in the cut: without that the cut would prove nothing.
(
    lines=0
    while :; do
        lines=$((lines + 1))
        echo "line $lines" >>"/mnt/unsynced-$lineside_boot"
        [ $((lines % 10)) = 0 ] && echo "@wrote $lines"
        usleep 100000
    done
) &

mkdir -p /mnt/state
stty -F /dev/ttyS1 115200
# The books, again and again, one line each.
(
    while :; do
        sleep 1
        lineside lag -o json --state /mnt/state 2>/dev/null
    done >/dev/ttyS1
) &

echo "@start $(lineside-guest-clock "10.0.2.2:$lineside_clock")"
[ -n "$lineside_preload" ] && export LD_PRELOAD="$lineside_preload"
lineside agent --config /etc/lineside/config --secrets /etc/lineside/secrets \
    --state /mnt/state --name agent --http 127.0.0.1:9464 --page off --log json
echo "@ended $?"
sleep 1000
