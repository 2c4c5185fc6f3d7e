# anomalib 2.0: the shortest program, and results as objects.
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.models import Padim

datamodule = MVTecAD(root="./datasets/MVTec", category="pane", train_batch_size=8, eval_batch_size=3)
model = Padim()
engine = Engine()
engine.fit(datamodule=datamodule, model=model)
test_results = engine.test(datamodule=datamodule, model=model)
predictions = engine.predict(datamodule=datamodule, model=model)
assert predictions is not None
count = 0
for prediction in predictions:
    for item in prediction:
        print(item.image_path, item.pred_score.item(), bool(item.pred_label), item.anomaly_map.shape, item.gt_label)
        count += 1
image_paths = [path for batch in predictions for path in batch.image_path]
