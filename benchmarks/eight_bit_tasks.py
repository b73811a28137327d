"""Three tasks of the truth set, with which moments of 8 bits are compared with float32 ones.

    file=benchmarks/eight_bit_tasks.py
    PYTHONPATH=benchmarks/truth_set rectified study $file:vit,$file:gpt,$file:translator --out runs/eight-bit \\
        --methods "adam+linear-10%,adam+linear-10%(state_dtype=8bit)" --lrs 0.001,0.003 --seeds 0,1,2,3,4

0.003 is the best learning rate of plain Adam on each of them. 77 to 85 % of the parameters are coded.
"""

from tasks import MAKE

vit, gpt, translator = MAKE["vit"](), MAKE["gpt-post"](), MAKE["translator"]()
