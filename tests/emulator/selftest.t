#!/bin/sh
# The emulator's own test, as `make check` here runs it; `make emulated` of the root builds it.
cd "$(dirname "$0")" && exec lib64/selftest
