"""Training in Keras 3, on any of its backends, with a warmup in the optimizer and a cosine decay as its schedule.

KERAS_BACKEND=torch python examples/keras_training.py
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

import rectified.keras
from rectified.warmup import Linear

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(2000, 2)).astype("float32")
y = (np.linalg.norm(x, axis=1) > 1.2).astype("int32")  # inside or outside of a circle

# A tenth of the run, as in minimal.py. omega multiplies the schedule, and neither needs to know about the other.
epochs, batch_size = 10, 64
steps = epochs * -(-len(x) // batch_size)
optimizer = rectified.keras.AdamW(
    keras.optimizers.schedules.CosineDecay(1e-2, steps), weight_decay=0.01, warmup=Linear(steps // 10)
)
model = keras.Sequential(
    [keras.Input((2,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(2, activation="softmax")]
)
model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def fit(model, first, last):
    """The losses of these epochs, whose batches come in order, so that a resumed run sees the same."""
    history = model.fit(x, y, batch_size=batch_size, initial_epoch=first, epochs=last, shuffle=False, verbose=0).history
    for epoch, (loss, accuracy) in enumerate(zip(history["loss"], history["accuracy"], strict=True), first + 1):
        print(f"epoch {epoch:2}  loss {loss:.3f}  accuracy {100 * accuracy:.1f} %")
    return history["loss"]


fit(model, 0, 5)
path = Path(tempfile.mkdtemp()) / "model.keras"
model.save(path)  # weights, m, v, the count, and the configuration of optimizer, schedule and warmup

losses = fit(model, 5, epochs)
loaded = keras.models.load_model(path)
print("loaded", loaded.optimizer.warmup, "after", int(loaded.optimizer.iterations), "steps")
resumed = fit(loaded, 5, epochs)
print("resumed from epoch 5:", "the same losses" if resumed == losses else "other losses")
