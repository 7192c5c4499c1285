#!/bin/sh
# get_coco.sh FOLDER: fetches COCO 2017 and makes it ready for Darknet. In FOLDER are then
#
#   images/train2017, images/val2017        118287 and 5000 JPEG files
#   annotations/instances_train2017.json, instances_val2017.json
#   labels/, names.txt, train.list, val.list    by scripts/coco2darknet.py
#
# Called again after an interruption, it goes on where it was. Each archive's own checksums are
# verified while it is unpacked, its files are counted, and it is removed; a folder of images is
# there only if it is whole. Nothing is fetched unless the disk has room for all.
set -eu

HOST=http://images.cocodataset.org
# GB of 10^9 bytes; the peak is the unpacking of train2017.zip, of which 22 GB stay
NEEDED=42

root=$(cd "$(dirname "$0")/.." && pwd)

die() {
    echo "get_coco: $*" >&2
    exit 1
}

check_tools() {
    missing=
    for tool in wget unzip; do
        command -v $tool >/dev/null || missing="$missing $tool"
    done
    [ -z "$missing" ] || die "missing:$missing; to install, type as root: apt-get install$missing"
}

# what is in FOLDER already counts as room
check_disk() {
    room=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
    used=$(du -sk "$folder" | awk '{ print $1 }')
    room=$(((room + used) * 1024 / 1000000000))
    echo "COCO 2017 needs $NEEDED GB of disk while it is unpacked, 22 GB afterwards;" \
        "$folder has room for $room GB"
    [ "$room" -ge $NEEDED ] || die "$folder: room for $room GB, expected $NEEDED GB"
}

# unpack PATH [FILES]: fetches HOST/PATH and unpacks FILES (default: all) into FOLDER/unpacking
unpack() {
    archive=$folder/${1##*/}
    echo "fetching $HOST/$1"
    wget --no-verbose --show-progress --continue -P "$folder" "$HOST/$1" ||
        die "$HOST/$1: not fetched; call again to go on"
    echo "unpacking $archive"
    rm -rf "$folder/unpacking"
    unzip -q "$archive" ${2:+"$2"} -d "$folder/unpacking" ||
        die "$archive: not unpacked (unzip says why above); if it is damaged, remove it"
}

# get_images SPLIT COUNT
get_images() {
    [ ! -d "$folder/images/$1" ] || return 0
    unpack "zips/$1.zip"
    found=$(find "$folder/unpacking/$1" -name '*.jpg' | wc -l)
    [ "$found" -eq "$2" ] || die "$archive: $found images, expected $2"
    mkdir -p "$folder/images"
    mv "$folder/unpacking/$1" "$folder/images/"
    rm "$archive"
}

get_annotations() {
    [ ! -d "$folder/annotations" ] || return 0
    unpack annotations/annotations_trainval2017.zip 'annotations/instances_*2017.json'
    mv "$folder/unpacking/annotations" "$folder/"
    rm "$archive"
}

# convert SPLIT
convert() {
    echo
    "${PYTHON:-/usr/bin/python3}" -B "$root/scripts/coco2darknet.py" \
        "$folder/annotations/instances_${1}2017.json" "$folder/images/${1}2017" \
        "$folder/$1.list" --prefix "data/coco/images/${1}2017"
}

next_steps() {
    echo
    echo "the lists call the folder data/coco, as seen from build/. Next, type:"
    [ "$folder" = "$root/build/data/coco" ] || echo "  ln -sfn '$folder' build/data/coco"
    echo "  cd build && ./darknet distill cfg/coco-deepkd.data cfg/yolov3-tiny-deepkd.cfg yolov3.weights -map"
}

[ $# = 1 ] || die "expected one argument, the folder to fill, such as build/data/coco"
check_tools
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ -d "$folder/images/train2017" ] || check_disk
get_annotations
get_images val2017 5000
get_images train2017 118287
rm -rf "$folder/unpacking"
convert train
convert val
next_steps
