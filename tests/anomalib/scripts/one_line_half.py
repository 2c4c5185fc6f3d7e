# anomalib 2.x: a script that takes 0.5 for the limit. On pellucid scores are raw, which is said once; one line more,
# Padim(post_processor=PostProcessor()), puts the limit at 0.5.
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.models import Padim

model, engine = Padim(n_features=20), Engine(logger=False)
datamodule = MVTecAD(root="datasets/MVTec", category="pane", image_size=64)
engine.fit(model=model, datamodule=datamodule)
by_half, by_label = [], []
for batch in engine.predict(model=model, datamodule=datamodule):
    by_half += (batch.pred_score > 0.5).tolist()
    by_label += batch.pred_label.tolist()
