#!/usr/bin/python3
"""The GPU as `make bench` sees it: is there one, and what does nvidia-smi say while it works.

    gpu.py    prints the GPU's name, or says in one line that there is none and exits with 1

It asks the driver's library, not nvidia-smi, whether there is a GPU; without nvidia-smi
utilisation and memory are unknown, and nothing else is missing.
"""
import ctypes
import os
import statistics
import subprocess
import sys
import threading
import time

# nvidia-smi's order, for the programs that are measured
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
INTERVAL = 100  # milliseconds between two samples


class NoGpu(Exception):
    """The text says what was looked for."""


def find_gpu():
    """Name of the first GPU that CUDA programs may use, and the CUDA version of its driver."""
    os.environ.update(ORDER)
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise NoGpu("found no NVIDIA driver (libcuda.so.1), expected a GPU") from None
    count, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise NoGpu(f"found no GPU that CUDA programs may use, expected one (CUDA error {status}, "
                    f"CUDA_VISIBLE_DEVICES {visible})")
    cuda.cuDeviceGetName(name, len(name), 0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return f"{name.value.decode()}, driver for CUDA {version.value // 1000}." \
        f"{version.value % 1000 // 10}"


class Watch:
    """Samples of the first GPU's utilisation and memory, from now on until close()."""

    QUERY = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]

    def __init__(self):
        self.samples = []  # (time, per cent, MiB)
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
        try:
            self.process = subprocess.Popen(
                ["nvidia-smi", f"--id={gpu}", *self.QUERY, f"--loop-ms={INTERVAL}"], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **ORDER})
        except OSError:
            self.process = None
            return
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        time.sleep(1)  # what is used before the first run

    def read(self):
        for line in self.process.stdout:
            words = line.split(",")
            if all(word.strip().isdigit() for word in words):  # else [N/A]
                self.samples.append((time.time(), *map(int, words)))

    def used_before(self):
        """MiB, or None."""
        return self.samples[0][2] if self.samples else None

    def utilisation(self, began, ended):
        """Its mean in per cent between two time.time(), or None."""
        found = [use for at, use, _ in list(self.samples) if began <= at <= ended]
        return statistics.fmean(found) if found else None

    def peak(self, began, ended):
        """MiB at most, beyond what was used before the first run; or None."""
        found = [memory for at, _, memory in list(self.samples) if began <= at <= ended]
        return max(found) - self.used_before() if found else None

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


if __name__ == "__main__":
    try:
        print(find_gpu())
    except NoGpu as error:
        sys.exit(f"bench: {error}")
