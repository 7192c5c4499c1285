#!/usr/bin/python3
"""Whether the emulator's headers agree with those of a real CUDA toolkit.

headers.py FOLDER compiles every prototype and constant of ours after the real headers of FOLDER:
C refuses a prototype or value that is another. Without real headers it skips that.
"""
import os
import re
import subprocess
import sys

OURS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "include")
HEADERS = ("cuda_runtime.h", "curand.h", "cublas_v2.h", "cudnn.h")
INCLUDES = "".join(f"#include <{name}>\n" for name in HEADERS)
PROTOTYPE = r"(?:const char \*|size_t |\bc\w+_t )c(?:uda|ublas|urand|udnn)[A-Z]\w+\([^;{]*\);"
CONSTANT = r"\b((?:cuda|CUDNN_|CUBLAS_|CURAND_)\w+) = (\d+)"
FIELDS = r"struct (cudaDeviceProp|cudnn\w+PerfStruct) \{(.*?)\}"


def ours():
    return subprocess.run(["gcc", "-E", "-P", f"-I{OURS}", "-"], input=INCLUDES, text=True,
                          stdout=subprocess.PIPE, check=True).stdout


def checks(text):
    yield from re.findall(PROTOTYPE, text)
    for name, value in re.findall(CONSTANT, text):
        yield f'_Static_assert({name} == {value}, "{name}");'
    for struct, body in re.findall(FIELDS, text, re.DOTALL):
        for name in re.findall(r"(\w+)(?:\[\d+\])?;", body):
            yield f"int {struct}_{name}[sizeof ((struct {struct} *)0)->{name}];"


def main():
    folder = sys.argv[1]
    missing = [name for name in HEADERS if not os.path.exists(os.path.join(folder, name))]
    if missing:
        print(f"headers.py: skipped: no {missing[0]} in {folder}")
        return 0
    lines = list(checks(ours()))
    status = subprocess.run(["gcc", "-w", f"-I{folder}", "-fsyntax-only", "-x", "c", "-"],
                            input=INCLUDES + "\n".join(lines) + "\n", text=True).returncode
    print(f"headers.py: {len(lines)} declarations {'differ' if status else 'agree with ' + folder}")
    return status


sys.exit(main())
