#!/usr/bin/python3 -B
"""The house in order, in TAP: rooms with addresses, and a guide that does not send you astray.

Proves: in plugin/ includes go downwards only, by the path from there, and math/ sees no header of
Darknet's; what only a GPU needs has files of its own; no files include each other in a circle; no
function is above 40 lines; plugin/deepkd.h lists what is there; README is short, every link of the
docs leads somewhere, each page can be reached from README and opens with what it answers. After
each check stands what it notices, in a small house that is broken on purpose. Nothing is compiled
or run here.

To add a check: a function from a root folder to a list of complaints, one @test that it finds
none in ours, one that it finds what is broken.
"""
import os
import re

import tap
from tap import ROOT, test

ORDER = ["", "darknet", "math", "net", "cpu", "data", "distil", "run", "cli"]  # "": plugin/ itself
REGISTRATION = "deepkd.c"  # sees all
C_LIBRARY = {"assert.h", "ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h",
             "stdarg.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"}
CUDA = {"cuda_runtime.h"}
SOURCES = (".c", ".h", ".cu", ".cpp")
MOST_LINES = 40  # of a function, from its name to its last brace
README_LINES = 250


# What is there

def read(root, *path):
    with open(os.path.join(root, *path), encoding="utf-8") as file:
        return file.read()


def files(root, folder, *endings):
    """The paths below root/folder, from there, that end so."""
    top = os.path.join(root, folder)
    found = [os.path.relpath(os.path.join(path, name), top)
             for path, _, names in os.walk(top) for name in names]
    return sorted(name for name in found if name.endswith(endings))


def sources(root):
    return files(root, "plugin", *SOURCES)


def includes(root, name):
    """[(line, what)] of a source's #include lines."""
    lines = enumerate(read(root, "plugin", name).split("\n"), 1)
    found = [(number, re.match(r'\s*#\s*include\s*[<"]([^>"]+)', line)) for number, line in lines]
    return [(number, match.group(1)) for number, match in found if match]


# What only a GPU needs

def gpu_lines(root):
    """#ifdef GPU outside of net/device and the *_gpu files."""
    complaints = []
    for name in sources(root):
        stem_of = os.path.splitext(name)[0]
        if stem_of == "net/device" or stem_of.endswith("_gpu"):
            continue
        for number, line in enumerate(read(root, "plugin", name).split("\n"), 1):
            if re.match(r"\s*#\s*if.*\bGPU\b", line):
                complaints.append(f"plugin/{name}:{number}: #if GPU, expected it in a *_gpu file or "
                                  "in net/device")
    return complaints


# Includes

def rank(name):
    """A file's place in the order, or None for a folder that has none."""
    folder = os.path.dirname(name)
    if name == REGISTRATION:
        return len(ORDER)
    return ORDER.index(folder) if folder in ORDER else None


def wrong_include(name, what, ours):
    """What is wrong with `name` including `what`, or None; `ours` are the plugin's files."""
    if what in ours:
        up = (rank(what) or 0) > rank(name)
        return f"goes up, expected at most {os.path.dirname(name) or 'plugin'}/" if up else None
    homes = [path for path in ours if os.path.basename(path) == os.path.basename(what)]
    if homes:
        return f"without its folder, expected {homes[0]}"
    if "/" in what and what.split("/")[0] in ORDER:
        return "found no such file"
    if os.path.dirname(name) == "math" and what not in C_LIBRARY | CUDA:
        return "in math/, expected the C library, CUDA's runtime or a file of ours"
    return None


def wrong_includes(root):
    ours, complaints = set(sources(root)), []
    for name in sorted(ours):
        if rank(name) is None:
            complaints.append(f"plugin/{name}: in no folder of the order")
            continue
        for line, what in includes(root, name):
            wrong = wrong_include(name, what, ours)
            if wrong:
                complaints.append(f"plugin/{name}:{line}: {what}: {wrong}")
    return complaints


def unit(name):
    """What stands and falls together: a .c, its header and its GPU twin."""
    return name if name == REGISTRATION else re.sub(r"(_gpu)?\.\w+$", "", name)


def graph(root):
    """{unit: units that it includes}"""
    ours, found = set(sources(root)), {}
    for name in ours:
        edges = found.setdefault(unit(name), set())
        edges.update(unit(what) for _, what in includes(root, name) if what in ours)
    return {name: sorted(edges - {name}) for name, edges in found.items()}


def circles(root):
    """One complaint for each include that closes a circle, with the way round."""
    edges, done, complaints = graph(root), set(), []

    def walk(name, way):
        if name in way:
            complaints.append("a circle: " + " -> ".join([*way[way.index(name):], name]))
        elif name not in done:
            for other in edges[name]:
                walk(other, [*way, name])
            done.add(name)

    for name in sorted(edges):
        walk(name, [])
    return complaints


# Functions

def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def bare(text):
    """Code without comments, texts and lines of the preprocessor; line ends stay."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.DOTALL)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.MULTILINE)


def start_of(code, brace):
    """Where the definition begins whose body opens at `brace`."""
    last = max(code.rfind(sign, 0, brace) for sign in ";{}")
    return brace - len(code[last + 1:brace].lstrip())


def functions(text):
    """[(first line, lines)] of the functions in C, C++ or CUDA code."""
    code, open_braces, found = bare(text), [], []
    for match in re.finditer(r"[{}]", code):
        if match.group(0) == "{":
            body = re.search(r"\)\s*(const|noexcept|\s)*$", code[:match.start()])
            is_inside = any(start is not None for start in open_braces)
            is_function = body and not is_inside
            open_braces.append(start_of(code, match.start()) if is_function else None)
            continue
        if not open_braces:
            raise ValueError(f"line {code.count(chr(10), 0, match.start()) + 1}: one }} too many")
        start = open_braces.pop()
        if start is not None:
            first = code.count("\n", 0, start) + 1
            found.append((first, code.count("\n", start, match.start()) + 1))
    if open_braces:
        raise ValueError("a brace is never closed")
    return found


def long_functions(root):
    return [f"plugin/{name}:{first}: a function of {lines} lines, expected at most {MOST_LINES}"
            for name in sources(root) for first, lines in functions(read(root, "plugin", name))
            if lines > MOST_LINES]


def same_objects(root):
    """Two sources whose objects have one name: plugin.mk puts them all into one folder."""
    seen, complaints = {}, []
    for name in files(root, "plugin", ".c", ".cu", ".cpp"):
        base = os.path.splitext(os.path.basename(name))[0]
        if base in seen:
            complaints.append(f"plugin/{name}: makes {base}.o, as plugin/{seen[base]} does")
        seen[base] = name
    return complaints


# The list in plugin/deepkd.h

def listed(root):
    """The files that the opening comment of plugin/deepkd.h lists, by folder."""
    guide = read(root, "plugin", "deepkd.h").split("*/")[0]
    folder, names = None, []
    for line in guide[guide.index("Folders, "):].split("\n"):
        match = re.match(r" \*( {3}| {5})([\w.]+/?) +\S", line)
        if match and match.group(2).endswith("/"):
            folder = match.group(2).rstrip("/")
        elif match:
            inside = folder if len(match.group(1)) == 5 and folder != "plugin" else ""
            names.append(os.path.join(inside, match.group(2)))
    return names


def stem(name):
    """What a listed file stands for."""
    return name if name == REGISTRATION else re.sub(r"(_gpu|_kernels)?\.\w+$", "", name)


def wrong_list(root):
    there, names = files(root, "plugin", ".mk", *SOURCES), listed(root)
    stems = {stem(name) for name in names}
    return [*(f"plugin/deepkd.h: lists {name}, found no such file" for name in names
              if name not in there),
            *(f"plugin/deepkd.h: does not list {name}" for name in there
              if stem(name) not in stems)]


# The docs

def pages(root):
    """All pages a user reads, from root."""
    found = ["README.md", "CHANGELOG.md", *(f"docs/{name}" for name in files(root, "docs", ".md")),
             *(f"tests/{name}" for name in files(root, "tests", "README.md"))]
    return [name for name in found if os.path.exists(os.path.join(root, name))]


def without_code(text):
    text = re.sub(r"^ *```.*?^ *```", blank, text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`", blank, text)


def anchors(text):
    """The #names of a page's headings, as GitHub makes them."""
    text, names = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE), []
    for heading in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.append(f"{name}-{names.count(name)}" if name in names else name)
    return names


def links(root, page):
    """[(target, path from root, anchor)] of a page's links to files."""
    found = re.findall(r"\]\(([^()\s]+)\)", without_code(read(root, page)))
    folder, result = os.path.dirname(page), []
    for target in found:
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            result.append((target, os.path.normpath(os.path.join(folder, path)) if path else page,
                           anchor))
    return result


def wrong_links(root):
    complaints = []
    for page in pages(root):
        for target, path, anchor in links(root, page):
            if not os.path.exists(os.path.join(root, path)):
                complaints.append(f"{page}: ({target}): found no {path}")
            elif anchor and anchor not in anchors(read(root, path)):
                complaints.append(f"{page}: ({target}): {path} has no such heading")
    return complaints


def wrong_pages(root):
    """README's length; pages that it does not link; pages that open with no answer."""
    complaints = []
    lines = read(root, "README.md").count("\n")
    if lines > README_LINES:
        complaints.append(f"README.md: {lines} lines, expected at most {README_LINES}")
    linked = {path for _, path, _ in links(root, "README.md")}
    for page in pages(root)[1:]:
        if page not in linked:
            complaints.append(f"README.md: no link to {page}")
        if page.startswith("docs/") and not re.match(r"# \S.*\n\n[^\s#|`!<\-]", read(root, page)):
            complaints.append(f"{page}: expected a title, and then a paragraph: what it answers")
    return complaints


def wrong_paths(root):
    """Files of ours that a page names between backquotes, and that are not there."""
    return [f"{page}: `{path}`: found no such file" for page in pages(root)
            if page != "CHANGELOG.md"  # which tells of what was
            for path in re.findall(r"`((?:plugin|scripts|patches|docs|cfg|tests)/[\w/.-]*\w/?)[` ]",
                                   read(root, page))
            if not os.path.exists(os.path.join(root, path))]


# The tests

def check_none(complaints):
    assert not complaints, "\n".join(complaints)


def check_finds(complaints, *words):
    """As many complaints as words, one with each."""
    assert len(complaints) == len(words), f"expected {words}: {complaints}"
    for word in words:
        assert any(word in complaint for complaint in complaints), f"no {word!r}: {complaints}"


class House:
    """A folder for a house of our own; tap.py's main makes and removes it."""

    def __init__(self, path, _fixture=None):
        self.path = path
        os.makedirs(path)

    def fill(self):
        """There is no fixture."""

    def write(self, **texts):
        """Files by name: "/" is "__" and "." is "_" before the ending, as in plugin__math__a_h."""
        for name, text in texts.items():
            path, _, ending = name.replace("__", "/").rpartition("_")
            path = os.path.join(self.path, f"{path}.{ending}")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


@test
def includes_go_down(_house):
    """includes go down the folders, by the path from plugin/; math/ sees no header of Darknet's"""
    check_none(wrong_includes(ROOT))


@test
def notices_includes(house):
    """noticed: an include that goes up, has no folder, leads nowhere, or is Darknet's in math/"""
    house.write(
        plugin__options_h='#include "darknet.h"\n#include "math/a.h"\n',
        plugin__math__a_h='#include <math.h>\n#include "cuda_runtime.h"\n#include "options.h"\n',
        plugin__math__a_c='#include "math/a.h"\n#include <darknet.h>\n#include "utils.h"\n',
        plugin__net__b_c='#include "a.h"\n#include "math/gone.h"\n#include "utils.h"\n',
        plugin__net__c_h='/* */\n #  include  "run/d.h"\n#include <run/d.h>\n',
        plugin__run__d_h='#include "net/c.h"\n#include "../math/a.h"\n',
        plugin__attic__e_c="",
        plugin__deepkd_c='#include "run/d.h"\n')
    check_finds(wrong_includes(house.path),
                "options.h:2: math/a.h: goes up", "a.c:2: darknet.h: in math/",
                "a.c:3: utils.h: in math/", "b.c:1: a.h: without its folder, expected math/a.h",
                "b.c:2: math/gone.h: found no such file", "c.h:2: run/d.h: goes up",
                "c.h:3: run/d.h: goes up", "d.h:2: ../math/a.h: without its folder",
                "attic/e.c: in no folder")


@test
def gpu_has_its_files(_house):
    """what only a GPU needs stands in *_gpu files and in net/device"""
    check_none(gpu_lines(ROOT))


@test
def notices_gpu_lines(house):
    """noticed: #ifdef GPU elsewhere"""
    house.write(plugin__net__device_c="#ifdef GPU\n#endif\n", plugin__run__a_gpu_c="#ifdef GPU\n",
                plugin__run__b_c="int b;\n# ifndef GPU\n", plugin__run__c_c="#if defined(GPU)\n")
    check_finds(gpu_lines(house.path), "run/b.c:2", "run/c.c:1")


@test
def no_circles(_house):
    """no files include each other in a circle"""
    check_none(circles(ROOT))


@test
def notices_circles(house):
    """noticed: circles of headers, through a .c, and through a GPU twin"""
    house.write(
        plugin__math__a_h='#include "math/b.h"\n', plugin__math__b_h='#include "math/a.h"\n',
        plugin__net__c_c='#include "net/c.h"\n#include "net/d.h"\n', plugin__net__c_h="",
        plugin__net__d_h='#include "net/e.h"\n', plugin__net__e_h='#include "net/c.h"\n',
        plugin__run__f_c='#include "run/f_gpu.h"\n#include "run/g.h"\n',
        plugin__run__f_gpu_h="", plugin__run__g_h="", plugin__run__g_gpu_c='#include "run/f_gpu.h"',
        plugin__deepkd_h="", plugin__run__h_c='#include "deepkd.h"\n',
        plugin__deepkd_c='#include "deepkd.h"\n#include "run/g.h"\n')
    check_finds(circles(house.path), "math/a -> math/b -> math/a",
                "net/c -> net/d -> net/e -> net/c", "run/g -> run/f -> run/g")


@test
def short_functions(_house):
    """no function of the plugin is above 40 lines"""
    check_none(long_functions(ROOT))
    count = sum(len(functions(read(ROOT, "plugin", name))) for name in sources(ROOT))
    assert count > 400, f"found {count} functions, expected more than 400: does the count work?"


@test
def notices_long_functions(house):
    """noticed: a function of 41 lines, in C, C++ and CUDA, whatever stands in its texts"""
    house.write(
        plugin__a_c='#define F(x) { x\nstatic const char *const s[] = {"{", "}"};\n'
                    "int f(void)\n{ /* } */\n" + "    g('}');\n" * 38 + "}\n"
                    "int g(int a,\n      int b)\n{\n" + "    if (1) {\n    }\n" * 19 + "}\n",
        plugin__b_cu='extern "C" {\n__global__ void k(int n) {\n' + "\n" * 39 + "}\n}\n",
        plugin__c_cpp="struct a {\n    int f() const\n    {\n" + "\n" * 38 + "    }\n};\n"
                      "namespace {\n" + "int i;\n" * 50 + "}\n")
    check_finds(long_functions(house.path), "a.c:3: a function of 41 lines",
                "a.c:44: a function of 42 lines", "b.cu:2: a function of 41 lines",
                "c.cpp:2: a function of 41 lines")


@test
def guide_is_true(_house):
    """plugin/deepkd.h lists the files of plugin/, and no others; no two make one object"""
    check_none(wrong_list(ROOT) + same_objects(ROOT))


@test
def notices_wrong_guide(house):
    """noticed: a file listed that is gone or elsewhere, one not listed, two that make one object"""
    house.write(
        plugin__deepkd_h="/*\n * x.c is no entry\n * Folders, from below:\n *   plugin/  words\n"
                         " *     deepkd.h   words\n *   math/    words\n *     a.c  words\n"
                         " *          more words\n *     gone.c  words\n *   net/  words\n"
                         " *     c.c  words\n *   deepkd.c  words\n */\n/* Folders, */\n",
        plugin__deepkd_c="", plugin__math__a_c="", plugin__math__a_h="", plugin__math__a_gpu_c="",
        plugin__math__a_kernels_cu="", plugin__math__c_c="", plugin__new_h="")
    check_finds(wrong_list(house.path), "lists math/gone.c", "lists net/c.c",
                "does not list math/c.c", "does not list new.h")
    house.write(plugin__net__a_cu="")
    check_finds(same_objects(house.path), "net/a.cu: makes a.o, as plugin/math/a.c does")


@test
def links_lead_somewhere(_house):
    """every link and #heading in README, CHANGELOG, docs/ and tests/ leads somewhere"""
    check_none(wrong_links(ROOT) + wrong_paths(ROOT))


@test
def pages_are_reached(_house):
    """README has at most 250 lines and links each page; each page opens with what it answers"""
    check_none(wrong_pages(ROOT))


BROKEN_README = """# A house

[gone](docs/gone.md), [no heading](docs/a.md#c-d), [a heading](docs/a.md#a-b-1), [here](#a-house),
[nothing](#nothing), [elsewhere](https://example.org/x) and `[code](nowhere)`

```
[code](nowhere)
## Nothing
```
"""


@test
def notices_wrong_docs(house):
    """noticed: links, headings and files that are not there; pages unlinked, without an answer"""
    house.write(README_md=BROKEN_README + "\n" * 250, docs__a_md="# A\n\n## `A`, b!\n\n## A b\n",
                docs__b_md="# B\n\nWhat it answers: `scripts/gone.sh --all`, `docs/b.md`.\n",
                tests__x__README_md="[up](../../docs/b.md) [down](docs/b.md)\n")
    check_finds(wrong_links(house.path), "README.md: (docs/gone.md): found no docs/gone.md",
                "(docs/a.md#c-d): docs/a.md has no such heading", "(#nothing)",
                "(docs/b.md): found no tests/x/docs/b.md")
    check_finds(wrong_paths(house.path), "docs/b.md: `scripts/gone.sh`")
    check_finds(wrong_pages(house.path), "259 lines", "no link to docs/b.md",
                "no link to tests/x/README.md", "docs/a.md: expected a title")


if __name__ == "__main__":
    tap.main(House)
