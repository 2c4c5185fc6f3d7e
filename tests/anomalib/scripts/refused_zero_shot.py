# anomalib 2.x: a model that has seen no image of the line.
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.models import WinClip

engine = Engine()
engine.test(model=WinClip(k_shot=0), datamodule=MVTecAD(root="datasets/MVTec", category="pane"))
