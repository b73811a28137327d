"""Where torch and pytest are all there is, the optimizers are tested and the image tasks are not."""

from importlib.util import find_spec

collect_ignore = [] if all(map(find_spec, ("numpy", "PIL", "filelock"))) else ["test_cuda_images.py"]
