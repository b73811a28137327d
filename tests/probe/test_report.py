"""The report of a probe: what the page, its figures, the CSV, the JSON and TensorBoard show is what was observed."""

import base64
import csv
import html
import io
import json
import math
import re
from dataclasses import asdict, fields, replace

import pytest
import torch
from torch import nn

import drawn
from browser import CHROMIUM, browse
from rectified import Probe
from rectified.probe import Arm, Difference, Observation, Signals, TrialResult, Verdict
from rectified.probe.probe_verdict import reaches
from rectified.probe.report import as_json, as_table, page, plots, write_files, write_tensorboard

SIGNALS = [field.name for field in fields(Signals)]
DRAWN = {
    "loss": {"loss": ""},
    "gain_left": {"gain_left": ""},
    "size": {"size": "size", "angle": "angle, radians"},
    "update_rms": {"update_rms": ""},
    "snr": {"snr": ""},
    "spread": {"spread": ""},
    "surprise": {"surprise": ""},
}
COLUMNS = ("size", "angle", "gain_left", "snr", "surprise")  # of the table of tensors
# What the browser made of the page.
PICTURES = """{
  const images = [...page.querySelectorAll("figure img")]
  const links = [...page.querySelectorAll("a[href^='#']")]
  return {
    excess: page.scrollWidth - page.clientWidth,
    images: images.length,
    drawn: images.filter(e => e.complete && e.naturalWidth > 0 && e.alt).length,
    targets: links.length > 2 && links.every(e => page.querySelector(e.getAttribute("href"))),
  }
}"""
HOSTILE = "<img src=x onerror=alert(1)>"


def watched(lr=0.01, steps=40, again=True, loss=True, name="", dtype=torch.float32, shift=0.0):
    """A probe on a small run; with a huge lr the run diverges."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh() if lr < 1 else nn.Identity(), nn.Linear(7, 3)).to(dtype)
    optimizer = torch.optim.Adam([(name + n, p) for n, p in model.named_parameters()], lr=lr)
    with Probe(optimizer) as probe:
        for _ in range(steps):
            x = torch.randn(16, 5, dtype=dtype)
            value = model(x).square().mean() + shift
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if loss:
                probe.observe(value, again=(lambda x=x: model(x).square().mean() + shift) if again else None)
    return probe


def tried(probe, line="nothing", name="Linear(8)"):
    arms = (Arm("as is", line="nothing"), Arm(name, warmup=8, line=line), Arm("lr / 3", factor=1 / 3))
    differences = (Difference(0, 0, 0), Difference(-0.5, -0.625, -0.375), Difference(0.25, 0.125, 0.375))
    losses = ((1.0, 1.5), (0.5, 1.0), (1.25, 1.75))
    found = probe.verdict()
    return TrialResult(
        arms, losses, differences, arms[1], found, 1234, 7.0, found.answer != "needed", probe, "test_loss"
    )


DIVERGED = {
    "far": {"lr": 1e3},
    "far, below zero": {"lr": 1e3, "shift": -3.0},
    "beyond float32": {"lr": 1e20},
    "beyond float32 at once": {"lr": 1e37},
    "far beyond float32": {"lr": 1e37, "dtype": torch.float64},
    "without a second loss": {"lr": 1e3, "again": False},
    "without a loss": {"lr": 0.01, "loss": False},
    "two steps": {"lr": 0.01, "steps": 2},
}


def observation(step, **values):
    one = Signals(**dict.fromkeys(SIGNALS, math.nan) | {"step": step, "lr": 0.1} | values)
    return Observation(one, math.inf)


def with_history(*history):
    probe = watched(steps=2)
    probe.history = list(history)
    return probe


def text_of(shown):
    """The words of a page, without tags, style and pictures."""
    body = re.sub(r"<(style|head)\b.*?</\1>", "", shown, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def axes(plot):
    return plot.drawing.figure().axes[0]


def points(plot, label=""):
    """x and y of a line; matplotlib calls one without a label by its number."""
    return drawn.points(axes(plot), label or "_child0")


def test_the_page_loads_nothing():
    shown = page(watched(), watched().verdict())
    assert "default-src 'none'" in shown
    assert not re.findall(r"<(?:script|iframe|object|embed|base|form)\b", shown)
    sources = re.findall(r"""(?:src|srcset|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", shown)
    assert len(sources) > 8
    assert all(source.startswith(("data:", "#")) for source in sources)
    for picture in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", shown):
        svg = base64.b64decode(picture).decode()
        assert not re.findall(r"""(?:href|src)=["'](?!#)""", svg)


def test_the_figures_draw_the_history():
    probe = watched()
    found = {plot.name: plot for plot in plots(probe)}
    assert list(found) == ["reach", *DRAWN]
    for name, columns in DRAWN.items():
        for column, label in columns.items():
            xs, ys = points(found[name], label)
            assert xs == [o.step for o in probe.history]
            assert drawn.same(ys, [getattr(o.model, column) for o in probe.history])


def test_the_reach_is_drawn_with_its_minimum_and_its_edge():
    probe = watched(lr=0.1)
    (reach,) = (plot for plot in plots(probe) if plot.name == "reach")
    line, *marks = axes(reach).get_lines()[:1] + axes(reach).get_lines()[-2:]
    known = [(o.step, 1 - o.model.gain_ratio) for o in probe.history]  # at a constant lr
    assert [*line.get_xdata()] == [step for step, _ in known]
    assert [*line.get_ydata()] == pytest.approx([value for _, value in known])
    assert [mark.get_ydata()[0] for mark in marks] == [0.5, 1.0]
    assert f"{max(value for step, value in known if step <= 8):.3g}" in reach.alt


def test_the_reach_is_at_the_largest_lr_of_the_run():
    """A scheduler's warmup: at the end of it the lr is 0.1, however small it was or is."""
    torch.manual_seed(0)
    model = nn.Linear(5, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=10)
    probe = Probe(optimizer)
    for _ in range(20):
        x = torch.randn(16, 5)
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        probe.observe(loss, again=lambda x=x: model(x).square().mean())
    optimizer.param_groups[0]["lr"] = 1e-5
    assert probe.full_lr == pytest.approx(0.1)
    (reach,) = (plot for plot in plots(probe) if plot.name == "reach")
    expected = [reach for _, reach in reaches(probe.history, 0.1)]
    assert points(reach)[1] == pytest.approx(expected)


def test_all_figures_share_their_steps():
    limits = {axes(plot).get_xlim() for plot in plots(watched())}
    assert len(limits) == 1


def test_the_numbers_are_on_the_page():
    probe = watched(lr=0.1)
    found = probe.verdict()
    shown = text_of(page(probe, found, title="my run", command="rectified probe my_task.py"))
    assert "my run: does this run need a warmup?" in shown
    assert f"{found.answer.capitalize()}. {found.why[0].upper()}{found.why[1:]}." in shown
    assert f"largest reach, at step {found.at_step} {found.reach:.2g} " in shown
    assert f"lr that looks safe {found.safe_lr:.2g} " in shown
    assert f"of the run as linear warmup advised {found.share:.0%} " in shown
    assert f"at {len(probe.history)} steps from 1 to {probe.history[-1].step}." in shown
    assert "How to repeat rectified probe my_task.py" in shown


def test_the_tensors_that_moved_most_come_first_with_their_first_and_last_signals():
    probe = watched()
    first, last = probe.history[0].tensors, probe.history[-1].tensors
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page(probe, probe.verdict()), re.DOTALL)
    assert [name for name, _ in rows] == sorted(first, key=lambda name: -first[name].size)
    for name, cells in rows:
        pairs = [[getattr(s[name], column) for s in (first, last)] for column in COLUMNS]
        expected = [" → ".join(f"{x:.2g}" if math.isfinite(x) else "–" for x in pair) for pair in pairs]
        assert re.findall("<td>(.*?)</td>", cells) == expected


def test_the_trial_is_on_the_page():
    probe = watched()
    result = tried(probe, line="optimizer = rectified.rectify(...)")
    shown = text_of(page(probe, result.verdict, result))
    assert "as is 1.25 Linear(8) 0.75 -0.5 (-0.625 to -0.375) better lr / 3 1.5 +0.25 (+0.125 to +0.375) worse" in shown
    assert "mean test_loss" in shown
    assert "Change in your script: optimizer = rectified.rectify(...)" in shown
    assert "1,234 steps in 7 seconds" in shown
    assert result.contradicts
    assert "The trial does not bear out the verdict from watching." in shown
    assert "does not bear out" not in text_of(page(probe, result.verdict, replace(result, contradicts=False)))


def test_with_one_seed_there_are_no_intervals():
    probe = watched()
    several = tried(probe)
    alone = tuple(Difference(d.mean, -math.inf, math.inf) for d in several.differences)
    shown = text_of(page(probe, several.verdict, replace(several, differences=alone, losses=((1.0,), (0.5,), (1.25,)))))
    assert "as is 1 Linear(8) 0.5 -0.5 lr / 3 1.25 +0.25 " in shown
    assert "inf" not in shown


def test_words_of_the_user_are_escaped():
    probe = watched(name=HOSTILE)
    found = replace(probe.verdict(), why=HOSTILE, mechanism=HOSTILE)
    result = replace(tried(probe, line=HOSTILE, name=HOSTILE), measure=HOSTILE)
    shown = page(probe, found, result, title=HOSTILE, command=HOSTILE)
    assert HOSTILE not in shown
    assert "<img src=x" not in shown
    assert shown.count(html.escape(HOSTILE)) >= 8


def test_the_csv_holds_every_signal():
    probe = watched()
    rows = list(csv.DictReader(io.StringIO(as_table(probe.history).csv())))
    assert list(rows[0]) == SIGNALS
    assert len(rows) == len(probe.history)
    for row, o in zip(rows, probe.history, strict=True):
        assert drawn.same([float(row[name] or "nan") for name in SIGNALS], list(asdict(o.model).values()))


def test_the_json_holds_everything_and_null_for_what_is_not_finite():
    probe = with_history(observation(1, loss=math.inf, size=0.5), observation(2, loss=-math.inf))
    result = tried(probe)
    content = json.loads(as_json(probe, Verdict("needed", "because"), result), parse_constant=pytest.fail)
    assert content["signals"][0] == dict.fromkeys(SIGNALS) | {"step": 1, "lr": 0.1, "size": 0.5}
    assert content["signals"][1]["loss"] is None
    assert content["verdict"]["answer"] == "needed"
    assert content["verdict"]["reach"] is None
    arm = content["trial"]["arms"][1]
    assert (arm["name"], arm["warmup"], arm["clip"], arm["losses"]) == ("Linear(8)", 8, None, [0.5, 1.0])
    assert arm["difference"] == {"mean": -0.5, "low": -0.625, "high": -0.375}
    assert content["trial"]["advice"] == "nothing"
    assert content["trial"]["measure"] == "test_loss"
    assert json.loads(as_json(probe, Verdict("needed", "because")))["trial"] is None


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_the_history_back(tmp_path):
    probe = watched()
    for _ in range(2):  # a second report takes the place of the first
        write_tensorboard(tmp_path, probe.history)
    assert len(list(tmp_path.iterdir())) == 1
    found = scalars(tmp_path)
    assert set(found) == {f"probe/{name}" for name in SIGNALS if name not in ("step", "angle_ratio")}
    for tag, values in found.items():
        expected = {o.step: getattr(o.model, tag.removeprefix("probe/")) for o in probe.history}
        assert values == pytest.approx({step: x for step, x in expected.items() if math.isfinite(x)}, rel=1e-6)


def test_other_events_in_the_folder_stay(tmp_path):
    (tmp_path / "events.out.tfevents.1.host.1.0").write_bytes(b"mine")
    write_tensorboard(tmp_path, watched().history)
    assert (tmp_path / "events.out.tfevents.1.host.1.0").read_bytes() == b"mine"


def test_the_files(tmp_path):
    probe = watched()
    path = write_files(tmp_path / "new" / "folder", probe, probe.verdict(), title="a title")
    assert path == tmp_path / "new" / "folder" / "probe.html"
    assert path.read_text(encoding="utf-8") == page(probe, probe.verdict(), title="a title")
    assert sorted(p.name for p in path.parent.iterdir()) == ["probe.html", "probe.json", "signals.csv", "tensorboard"]
    assert json.loads((path.parent / "probe.json").read_text()) == json.loads(as_json(probe, probe.verdict()))


def test_without_an_observation_there_is_no_page_and_no_file(tmp_path):
    probe = watched(steps=1)
    with pytest.raises(ValueError, match="has observed no complete step"):
        page(probe, probe.verdict())
    with pytest.raises(ValueError, match="has observed no complete step"):
        write_files(tmp_path / "folder", probe, probe.verdict())
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("case", DIVERGED.values(), ids=DIVERGED)
def test_any_history_gives_every_file(case, tmp_path):
    probe = watched(**case)
    shown = write_files(tmp_path, probe, probe.verdict()).read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|inf)\b", text_of(shown))
    assert not re.findall(r'alt="[^"]*\b(?:nan|inf)\b', shown)
    for plot in plots(probe):
        assert all(math.isfinite(limit) for limit in (*axes(plot).get_xlim(), *axes(plot).get_ylim()))
        for label in axes(plot).get_yticklabels():
            assert len(label.get_text()) <= 10, "it would not fit left of the axis"


def test_a_signal_without_a_value_has_no_figure():
    assert "loss" not in [plot.name for plot in plots(watched(loss=False))]
    assert "reach" not in [plot.name for plot in plots(watched(again=False))]
    known = {"spread": 1.0, "surprise": 0.0, "update_rms": 1.0, "gain_left": -5.0}
    found = plots(with_history(observation(1), observation(2, **known), observation(3, **known | {"surprise": -1.0})))
    assert [plot.name for plot in found] == ["gain_left", "update_rms", "spread", "surprise"]


@pytest.mark.parametrize(
    ("values", "scale", "limits"),
    [
        ([0.5, 1.0, 0.2], "linear", None),
        ([0.5, -1e9, 0.2], "linear", (-2.0, 0.5)),
        ([3.0, 4.0, 5.0], "linear", (0.0, 2.0)),
        ([-3.0, -4.0, math.nan], "linear", (-2.0, 0.0)),
        ([math.inf, 0.5, -math.inf], "linear", None),
        ([1e-6, 0.5, 1.0], "log", None),
        ([1e-6, 5.0, 1.0], "linear", (0.0, 2.0)),
    ],
)
def test_gain_left_is_cut_where_it_says_no_more(values, scale, limits):
    found = plots(with_history(*(observation(i + 1, gain_left=x) for i, x in enumerate(values))))
    (plot,) = found
    assert axes(plot).get_yscale() == scale
    assert plot.ylim == limits
    _, ys = points(plot)
    assert drawn.same(ys, [x if math.isfinite(x) else math.nan for x in values]), "only the view is cut"


def test_a_loss_that_explodes_has_a_logarithmic_axis():
    (plot,) = plots(with_history(*(observation(i, loss=x) for i, x in ((1, 2.0), (2, 1e12), (3, math.inf)))))
    assert axes(plot).get_yscale() == "log"
    assert drawn.same(points(plot)[1], [2.0, 1e12, math.nan])


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["light", "dark"])
def test_a_browser_shows_it_at_every_width_without_complaint(dark, tmp_path):
    probe = watched(lr=0.1, name="a.very.long.name.of.a.layer." * 3)
    diverged = watched(lr=1e20)
    for index, shown in enumerate(
        [
            page(probe, probe.verdict(), tried(probe), title="my_task, adam(beta1=0.9,beta2=0.99,eps=1e-8) at lr 0.01"),
            page(diverged, diverged.verdict()),
        ]
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        found, said = browse(shown, folder, (390, 1200), PICTURES, dark)
        assert said == []
        for each in found:
            assert each["excess"] <= 0, "no horizontal scroll"
            assert each["images"] == each["drawn"] == len(plots((probe, diverged)[index]))
            assert each["targets"]
