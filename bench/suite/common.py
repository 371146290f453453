"""What all benchmarks share: running programs, what a figure depends on, tables, plots and the
page.

The page is one Markdown file with a section for each benchmark, between two comments; who runs one
of them again replaces that section and leaves the others.
"""

import csv
import datetime
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
sys.dont_write_bytecode = True

SECTIONS = ("net", "cluster", "shards", "expiry", "store", "snapshot")
INTRODUCTION = """# Benchmarks

Written by `scripts/bench`, a section for each of its subcommands that has been run for this page,
each with the machine, build, commit and time of its own. Clients and servers share the machine's
processors, so the servers' processor time for an operation says more than operations a second, and
both say it beside the others of the same table, whose runs were interleaved with theirs.
`scripts/deps --bench` installs what is compared with. `benchmarks/*.csv` has every single run of
the loads.
"""


class Failed(Exception):
    """What went wrong, for people."""


def run(*command, echo=False):
    """A command's output, which is also shown as it comes with `echo`; its errors always are."""
    try:
        with subprocess.Popen([str(part) for part in command], cwd=TOP, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if echo:
                    print(f"    {line}", end="", flush=True)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    if process.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit status {process.returncode}")
    return "".join(lines)


def first_match(pattern, text, otherwise="?"):
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else otherwise


def say(text):
    print(f"scripts/bench: {text}", flush=True)


def build_programs(arguments, *targets):
    """The folder of the programs, which are built unless the arguments name one."""
    if arguments.build:
        return arguments.build.resolve()
    say("building")
    run("cmake", "--preset", "release")
    run("cmake", "--build", "--preset", "release", "--target", *targets)
    return TOP / "build" / "release"


# What a figure depends on.

def machine_line():
    cpu = first_match(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kilobytes = int(first_match(r"^MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text(),
                                "0"))
    return (f"{cpu}, {os.cpu_count()} CPUs, {kilobytes / 2**20:.0f} GiB, "
            f"{platform.system()} {platform.release()}")


def build_line(build):
    cache = (build / "CMakeCache.txt").read_text()
    kind = first_match(r"^CMAKE_BUILD_TYPE:\w+=(.*)", cache, "")
    flags = first_match(rf"^CMAKE_C_FLAGS_{kind.upper()}:\w+=(.*)", cache, "")
    lto = first_match(r"^CMAKE_INTERPROCEDURAL_OPTIMIZATION:\w+=(.*)", cache, "OFF")
    sanitizers = first_match(r"^MAYFLY_SANITIZE:\w+=(.*)", cache, "")
    compiler = run(first_match(r"^CMAKE_C_COMPILER:\w+=(.*)", cache, "cc"), "--version")
    linked = run("ldd", build / "bin" / "mayflyd")
    allocator = "jemalloc" if "libjemalloc" in linked else "the system's malloc"
    return (f"{compiler.splitlines()[0]}, `{flags}`, LTO {lto}, {allocator}"
            + (f", sanitizers {sanitizers}: the times mean nothing" if sanitizers else ""))


def commit_line():
    try:
        return run("git", "describe", "--always", "--dirty", "--abbrev=12").strip()
    except Failed:
        return "not in a repository"


def header(build):
    """What a figure is worth depends on; key and value."""
    return [
        ("machine", machine_line()),
        ("load before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
        ("build", build_line(build)),
        ("commit", commit_line()),
        ("time", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
    ]


def others(facts, **programs):
    """Which of the programs to compare with are there: name -> path. What is missing is said, here
    and among the facts."""
    found = {}
    for name, program in programs.items():
        path = shutil.which(program)
        if path is None:
            say(f"{name} is left out: there is no {program} (scripts/deps --bench)")
            facts.append((name, "left out: not installed"))
        else:
            shown = first_match(r"(\S*\d+\.\d+\.\d+\S*)", run(path, "--version"))
            facts.append((name, shown))
            found[name] = path
    return found


# Tables and plots.

def table(titles, rows):
    """The first column is of words."""
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def ratio(value, base):
    return f"{value / base:.2f}" if base else "-"


def medians(runs, columns):
    """Column -> median of that column of all runs (dicts)."""
    return {column: statistics.median(one[column] for one in runs) for column in columns}


def write_csv(path, rows):
    """Rows are dicts with the same keys."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def gnuplot(script, svg):
    """Whether the plot was made; none is where there is no gnuplot."""
    if shutil.which("gnuplot") is None:
        print("scripts/bench: gnuplot is not installed (scripts/deps --bench): no plots",
              file=sys.stderr)
        return False
    process = subprocess.run(["gnuplot"], input=script, text=True, check=False, cwd=TOP)
    if process.returncode != 0 or "<svg" not in svg.read_text(encoding="utf-8"):
        raise Failed(f"gnuplot made no {svg.name}")
    # As the tree has its files: without tabs, and blanks at the ends of lines.
    lines = svg.read_text().expandtabs(4).splitlines()
    svg.write_text("\n".join(line.rstrip() for line in lines).rstrip() + "\n")
    return True


def bars(svg, title, unit, groups, series):
    """Draws groups of bars, one of each series: name -> a value for each group. Says whether it
    has."""
    lines = [
        'set terminal svg size 900,460 enhanced font "sans-serif,13" background "white"',
        f"set output '{svg}'", f'set title "{title}" noenhanced', f'set ylabel "{unit}"',
        "set style data histogram", "set style histogram clustered gap 1.5",
        "set style fill solid 0.85 border -1", "set yrange [0:*]", "set grid ytics",
        "set key outside right top noenhanced", "set xtics noenhanced",
        "$data << END",
        *(" ".join([f'"{group}"', *(f"{values[i]:g}" for values in series.values())])
          for i, group in enumerate(groups)),
        "END",
        "plot " + ", ".join(f'$data using {i + 2}:xtic(1) title "{name}"'
                            for i, name in enumerate(series)), ""]
    return gnuplot("\n".join(lines), svg)


def curves(svg, title, xlabel, unit, points):
    """Draws a line for each series: name -> [(x, y), ...], over a logarithmic x."""
    lines = ['set terminal svg size 900,460 enhanced font "sans-serif,13" background "white"',
             f"set output '{svg}'", f'set title "{title}" noenhanced', f'set xlabel "{xlabel}"',
             f'set ylabel "{unit}"', "set logscale x 2", "set yrange [0:*]", "set grid",
             "set key outside right top noenhanced"]
    for i, rows in enumerate(points.values()):
        lines += [f"$data{i} << END", *(f"{x:g} {y:g}" for x, y in rows), "END"]
    lines += ["plot " + ", ".join(f'$data{i} using 1:2 with linespoints linewidth 2 title "{name}"'
                                  for i, name in enumerate(points)), ""]
    return gnuplot("\n".join(lines), svg)


# The page.

class Output:
    """Where a benchmark's files go: the page, and a folder beside it for CSV and SVG."""

    def __init__(self, arguments, build):
        folder = arguments.out
        if folder is None:
            folder = build / "bench" if arguments.quick else TOP / "docs"
        self.quick = arguments.quick
        self.flags = "".join(f" --{name} {value:g}" for name, value in
                             (("rounds", arguments.rounds), ("seconds", arguments.seconds))
                             if value is not None)
        self.page = folder.resolve() / "benchmarks.md"
        self.folder = folder.resolve() / "benchmarks"
        self.folder.mkdir(parents=True, exist_ok=True)

    def file(self, name):
        return self.folder / name

    def image(self, svg, made):
        """The line of the page that shows the plot, if it was made."""
        return ["", f"![{svg.stem}]({self.folder.name}/{svg.name})"] if made else []

    def write(self, name, title, facts, lines):
        """Replaces the section of that name."""
        quick = " with `--quick`, to see that it works; the figures mean nothing"
        text = "\n".join([f"## {title}", "",
                          f"`scripts/bench {name}{self.flags}`{quick if self.quick else ''}", "",
                          *(f"- {key}: {value}" for key, value in facts), "", *lines])
        sections = self._sections()
        sections[name] = text.rstrip("\n") + "\n"
        parts = [INTRODUCTION]
        parts += [f"<!-- {known} -->\n\n{sections[known]}" for known in SECTIONS
                  if known in sections]
        self.page.write_text("\n".join(parts), encoding="utf-8")
        print(text)
        say(f"written to {self.page} and {self.folder}")

    def _sections(self):
        if not self.page.exists():
            return {}
        parts = re.split(r"^<!-- (\w+) -->\n\n", self.page.read_text(encoding="utf-8"),
                         flags=re.MULTILINE)
        return {name: text.rstrip("\n") + "\n" for name, text in zip(parts[1::2], parts[2::2])}
