"""A study of my_task.py, in Python: is a short warmup worth it here, at each method's best learning rate?

python examples/study_in_python.py           (needs: pip install 'rectified[study]')
"""

import sys

from my_task import task

from rectified.study import Study

out = sys.argv[1] if len(sys.argv) > 1 else "runs/three-arms"
study = Study(
    task,
    methods=["adam", "adam+linear-10%"],
    lrs=[0.003, 0.01, 0.03],
    seeds=range(6),  # from six seeds on, the test needs no assumption about their distribution
)
print(len(study.runs()), "runs")

# Run it again and nothing runs: finished runs are kept in the folder, and a killed study goes on from there.
results = study.run(out, workers=2, progress=False)
print(results.verdict)
print(results.table())
