# %% [markdown]
# # Choosing a model
#
# Several detectors tell good panes from flawed ones without a mistake. Which one should run on the line? The
# one that also shows where the flaw is, and costs least. A comparison measures all of that in one go and names
# one; no test image has a say in it. It takes about a minute.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

import pellucid
from pellucid.study.compare import compare
from pellucid.study.sweep import Sweep
from pellucid.synthesis.glass import draw_data_set

draw_data_set(Path("GlassDefect"), n_train=40, n_test=20, n_per_defect=5)

# %% [markdown]
# ## Four models, one data set
#
# Three detectors that learn in one step, and a fusion of two of them, whose scores are standardised and added.
# Those that train, as STFPM and FastFlow do, take minutes: `detectors=["all"]` compares them, too.

# %%
# %%capture
sweep = Sweep(
    data=Path("GlassDefect"),
    detectors=["patchcore", "padim", "dfm", "padim+dfm"],
    image_size=128,
)
comparison = compare(sweep, Path("out"))

# %% [markdown]
# The last columns: how well the map shows where the flaws are (its average precision on the masks of labelled
# training defects), what an image takes, and how large the file is.

# %%
print(f"{'model':10} {'AUROC':>6} {'false rejects':>14} {'escapes':>8} {'shows where':>12} {'ms':>5} {'MB':>5}")
for row in comparison.rows:
    rejects, escapes = (f"{row[key]:.1%}" for key in ("false_reject_rate", "escape_rate"))
    shows = f"{row['localisation']:.2f}"
    cost = f"{row['ms_per_image_median']:5.0f} {row['model_mb']:5.1f}"
    print(f"{row['name']:10} {row['image_auroc']:6.3f} {rejects:>14} {escapes:>8} {shows:>12} {cost}")

# %% [markdown]
# ## The one to run
#
# Models whose accuracy cannot be told apart on these images are equals; of these the ones stay that show where
# the flaw is; of those the cheapest is named. Accuracy is counted on labelled panes that are no test panes.
# (The milliseconds are those of a machine that was busy with other work, too; the choice counts cost in passes
# of a network, which load does not change.)

# %%
print(comparison.choice.sentence)
print(comparison.choice.reason)

# %% [markdown]
# ## Look at what each of them sees
#
# A number for a map hides much. The same scratch, and what each model makes of it:

# %%
scratch = "GlassDefect/abnormal_test/scratch_2_001.png"
names = [row["name"] for row in comparison.rows]
figure, axes = plt.subplots(1, len(names) + 1, figsize=(14, 2.8))
axes[0].imshow(plt.imread(scratch), cmap="gray", vmin=0.2, vmax=0.9)
axes[0].set_title("scratch")
for axis, name in zip(axes[1:], names, strict=True):
    inspector = pellucid.load(f"out/{name}/model.pellucid")
    found = inspector.inspect(scratch)
    axis.imshow(found.map, vmin=0, vmax=2 * inspector.limit.pixel, cmap="magma")
    axis.set_title(f"{name}: {found.verdict}")
for axis in axes:
    axis.axis("off")

# %% [markdown]
# `out/report.html` has all of this and more: curves, every wrong call as a picture, a limit to move. In a shell
# it is `pellucid compare GlassDefect -o out`, and `--seeds 3` says how much of it is luck. *Choosing a model*
# tells the rule in full.
