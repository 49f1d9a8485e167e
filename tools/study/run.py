"""Every row of the paper's tables on the embedded data: train, test, write tables and figures.

    python tools/study/run.py                                # all rows, three seeds; resumes
    python tools/study/run.py --rows 'retrieval/sharing_*' --seeds 0 1 2 --jobs 2
    python tools/study/run.py --stage rates --shard 0/8      # one of 8 machines or array jobs ...
    python tools/study/run.py --stage rows --shard 0/8       # ... once all rates are there
    python tools/study/run.py --print retrieval/lora_r512 > lora.py
    python tools/study/run.py list                           # rows, and what is finished
    python tools/study/run.py --rows 'easy_vqa/*'            # docs/easy_vqa.md's, on request
    python tools/study/run.py --rows 'vl_*/*'                # docs/vl_adapter.md's, on request
    python tools/study/run.py tables                         # the results in these pages
    python tools/study/run.py figures                        # docs/images/{study,vl_adapter}_*.png

A result is a small JSON file in docs/study/results, bound to its config and the data; a trial that
has a valid one is not run again. Each trial is a process with one thread. A row that fails is
reported, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch

from tools.study.figures import write_figures
from tools.study.frames import preload
from tools.study.plan import Job, plan, share
from tools.study.pool import Failure, run_jobs
from tools.study.results import Store
from tools.study.rows import PAPER_TASKS, ROWS, Row, find, matching
from tools.study.tables import PAGES, Report, write_page
from tools.study.train import train_and_test
from tools.study.trials import RATES, ROOT, Setting, Trial, config_of, read_facts
from tools.study.vl import VL_TASKS
from uniadapter.utils.arguments import natural, positive, processes, seed_number
from uniadapter.utils.errors import one_message

ACTIONS = ("run", "list", "tables", "figures")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The paper's tables on the embedded data.")
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="run")
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="PATTERN",
        help="rows, such as 'retrieval/*' or 'easy_vqa/*' (all of the paper's tables)",
    )
    parser.add_argument("--seeds", nargs="+", type=seed_number, default=[0, 1, 2])
    parser.add_argument("--jobs", type=processes, default=1, help="trials at the same time")
    parser.add_argument(
        "--stage", choices=("all", "rates", "rows"), default="all", help="rates: only their choice"
    )
    parser.add_argument("--shard", metavar="I/N", help="part I of N of the trials, from 0")
    parser.add_argument("--print", metavar="ROW", help="print the config of a row and stop")
    parser.add_argument("--rate", type=positive, help="learning rate of --print (its family's)")
    parser.add_argument("--steps", type=natural, help="training steps instead of the budget's")
    parser.add_argument("--world", default="data/toy_world", help="folder of the embedded data")
    parser.add_argument("--results", default="docs/study/results", help="folder of the results")
    parser.add_argument("--docs", default="docs", help="folder of the pages and their images/")
    parser.add_argument("--work-dir", default="work_dirs/study", help="folder of the logs")
    args = parser.parse_args(argv)
    if len(set(args.seeds)) != len(args.seeds):
        parser.error("--seeds must differ")
    if args.rate is not None and args.print is None:
        parser.error("--rate needs --print: a study chooses its rates")
    chosen = args.stage != "all" or args.shard is not None or args.jobs != 1
    if chosen and (args.print is not None or args.action != "run"):
        parser.error("--stage, --shard and --jobs are of trials that are run")
    if args.rows and (args.print is not None or args.action in ("tables", "figures")):
        parser.error("--rows: tables and figures are of all rows, --print names its own")
    return args


def chosen_rows(args: argparse.Namespace) -> list[Row]:
    """The rows of the command line, in the order of the study."""
    if not args.rows:
        return [row for row in ROWS if row.task in PAPER_TASKS]
    found = {row for pattern in args.rows for row in matching(pattern)}
    return [row for row in ROWS if row in found]


def chosen_jobs(args: argparse.Namespace, setting: Setting) -> list[Job]:
    """What the command line asks for.

    Raises:
        ValueError: If there is no such part.
    """
    jobs = plan(chosen_rows(args), args.seeds, setting)
    if args.stage != "all":
        jobs = [job for job in jobs if job.chooses == (args.stage == "rates")]
    if args.shard is None:
        return jobs
    index, _, count = args.shard.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard {args.shard}: a part is written I/N, such as 0/8.")
    return share(jobs, int(index), int(count))


def run(args: argparse.Namespace, store: Store) -> list[Failure]:
    """Run the jobs; the clips are decoded once, for all of them."""
    jobs = chosen_jobs(args, store.setting)
    torch.set_num_threads(1)
    print(f"{len(jobs)} trials", flush=True)
    if any(job.row.task in PAPER_TASKS for job in jobs):
        read_facts(store.setting.world / "world.json")
        preload(store.setting.world / "msrvtt/videos", 48)
    return run_jobs(jobs, store, train_and_test, args.jobs, (ROOT / args.work_dir).resolve())


def print_config(args: argparse.Namespace, store: Store) -> None:
    """Print a row's config with the first of the seeds."""
    row = find(args.print)
    first = store.setting.lengths(row.task)[0]
    chosen = store.chosen(row) if args.rate is None else (args.rate, first)
    if chosen is None:
        raise ValueError(f"{row.key}: its family's rate is not chosen yet, name one with --rate.")
    cfg = config_of(Trial(row, args.seeds[0], *chosen), store.setting)
    print(f"# Made by `python tools/study/run.py --print {row.key}`.\n{cfg.dump()}")


def print_list(args: argparse.Namespace, store: Store) -> None:
    """Print the rows with the seeds that are finished, and the rates."""
    for row in chosen_rows(args):
        done = ", ".join(map(str, store.of_row(row, args.seeds))) or "none"
        rate = store.chosen_rate(row)
        tried = len(store.rate_results(row))
        chosen = f"lr {rate:g}" if rate is not None else f"{tried} of {len(RATES)} rates tried"
        print(f"{row.key:45} {row.family:14} {chosen:22} seeds done: {done}")


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_args(argv)
    store = Store(
        (ROOT / args.results).resolve(), Setting((ROOT / args.world).resolve(), args.steps)
    )
    try:
        if args.print:
            print_config(args, store)
        elif args.action == "list":
            print_list(args, store)
        elif args.action == "tables":
            for name, tasks in PAGES.items():
                write_page(Report(store, args.seeds, tasks), ROOT / args.docs / name)
        elif args.action == "figures":
            report = Report(store, args.seeds, (*PAPER_TASKS, *VL_TASKS))
            paths = write_figures(report, ROOT / args.docs / "images")
            print("\n".join(map(str, paths)))
        else:
            failures = run(args, store)
            if failures:
                lines = "\n".join(f"  {one.job}: {one.reason}" for one in failures)
                sys.exit(f"error: {len(failures)} trials have no result:\n{lines}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped: finished trials are kept, the same command goes on with the others")


if __name__ == "__main__":
    main()
