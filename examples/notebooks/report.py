# %% [markdown]
# # The report's notebook, on drawn glass
#
# Six detectors learn what good glass looks like, are tested on the same panes, and are ranked by what they
# cost. The notebook was written for anomalib; here its import lines say `pellucid.anomalib`, and nothing else
# is different. It takes about a minute.
#
# The glass is drawn, so that the notebook runs anywhere. Thin lines are normal, **bold lines are not**: the
# hard case of the report.

# %%
import time
from pathlib import Path

import matplotlib.pyplot as plt

from pellucid.anomalib.data import Folder
from pellucid.anomalib.engine import Engine
from pellucid.anomalib.loggers import AnomalibTensorBoardLogger
from pellucid.anomalib.models import Dfm, Fastflow, Padim, Patchcore, ReverseDistillation, Stfpm
from pellucid.synthesis.glass import draw_data_set

draw_data_set(Path("GlassDefect"), n_train=40, n_test=12, n_per_defect=4)

# %% [markdown]
# A good pane, a bold line, a bubble, a stone and a scratch, as the camera sees them:

# %%
names = ["normal_test/pane_040", *(f"abnormal_test/{kind}_2_001" for kind in ("bold-line", "seed", "stone", "scratch"))]
figure, axes = plt.subplots(1, 5, figsize=(12, 2.7))
for axis, name in zip(axes, names, strict=True):
    axis.imshow(plt.imread(f"GlassDefect/{name}.png"), cmap="gray", vmin=0.2, vmax=0.9)
    axis.set_title(name.split("/")[1])
    axis.axis("off")

# %% [markdown]
# ## Two data modules, one function that trains and tests
#
# Three epochs in place of the report's twenty, so that the notebook ends soon; PatchCore, PaDiM and DFM have none.

# %%


def data_module(normal, abnormal):
    module = Folder(
        name="GlassDefect",
        root="GlassDefect",
        normal_dir=normal,
        abnormal_dir=abnormal,
        task="classification",
        image_size=(128, 128),
        num_workers=1,
    )
    module.setup()
    return module


train_datamodule = data_module("normal_train", "abnormal_train")
test_datamodule = data_module("normal_test", "abnormal_test")


def training(model, train_datamodule, test_datamodule, ckpt=None):
    logger = AnomalibTensorBoardLogger("tb_logs", name=type(model).__name__)
    engine = Engine(max_epochs=3, logger=logger)
    engine.fit(datamodule=train_datamodule, model=model)
    (metrics,) = engine.test(datamodule=test_datamodule, model=model, ckpt_path=ckpt)
    return engine, metrics


# %% [markdown]
# ## One model
#
# The summary says what is learned and what is frozen, the table how good it is.

# %%
model = Patchcore()
engine, metrics = training(model, train_datamodule, test_datamodule)

# %% [markdown]
# The scores that the curves rest on: good panes and flawed ones. The limit comes from good panes alone; no
# flawed one placed it.

# %%
batches = engine.predict(datamodule=test_datamodule, model=model, return_predictions=True)
scores = [float(score) for batch in batches for score in batch["pred_scores"]]
labels = [int(label) for batch in batches for label in batch["label"]]

figure, axis = plt.subplots(figsize=(8, 2.6))
for label, name in ((0, "good"), (1, "flawed")):
    axis.hist([s for s, its in zip(scores, labels, strict=True) if its == label], bins=30, alpha=0.6, label=name)
axis.set_xlabel("score")
axis.set_ylabel("panes")
_ = axis.legend()
# %% [markdown]
# ## Six models
#
# Several separate the panes without a mistake, so accuracy cannot choose between them. Time and size can.
# (The seconds shown here are those of a machine that was busy with other work, too.)

# %%
# %%capture
rows = []
for model in (Patchcore(), Padim(), Stfpm(), Dfm(), Fastflow(), ReverseDistillation()):
    start = time.perf_counter()
    engine, metrics = training(model, train_datamodule, test_datamodule)
    seconds = time.perf_counter() - start
    size_mb = Path(engine.best_model_path).stat().st_size / 1e6
    rows.append((type(model).__name__, metrics["image_AUROC"], metrics["image_F1Score"], seconds, size_mb))

# %%
print(f"{'model':20} {'AUROC':>6} {'F1':>6} {'seconds':>8} {'MB':>6}")
for name, auroc, f1, seconds, size_mb in sorted(rows, key=lambda row: (-row[1], row[3])):
    print(f"{name:20} {auroc:6.3f} {f1:6.3f} {seconds:8.1f} {size_mb:6.1f}")

# %% [markdown]
# ## Look at what was found
#
# `results/` has a picture for every test pane, each run's configuration and its model, by version.

# %%
pictures = sorted(Path("results/Patchcore").rglob("images/**/*scratch*.png"))
figure, axis = plt.subplots(figsize=(11, 4.5))
axis.imshow(plt.imread(pictures[0]))
_ = axis.axis("off")

# %% [markdown]
# `tensorboard --logdir tb_logs` shows parameters and metrics of every version. What is different from anomalib,
# and every name: *Coming from anomalib*.
