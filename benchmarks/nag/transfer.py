"""After Table 2 of DiffusionNAG: how many cells of NAS-Bench-201 are trained on an unseen data set until the best is found.

``python benchmarks/nag/transfer.py --table CSV --out transfer.jsonl`` takes each data set in turn for the unseen one,
with the other two to learn from, ten seeds of each way, goes on where a run of it stopped, and prints the table.

The images of two of the three sets are not to be had, so a data set is seen by 16 labelled cells of it, which count as
trained: not the paper's encoding. Two data sets are few to learn from (the paper has 4,230), so episodes are made of
them: weighted sums of the two with a random function of the operators added. An accuracy is the cell's test accuracy.

    conditioned     cells generated under Eq. 10, trained in the order of their predicted ranks
    conditioned-all all cells in that order: what ranks do without a generator
    mean-rank       all cells in the order of their mean rank on the other two; nothing is labelled
    gp              a process over networks from scratch, expected improvement
    tpe, random     from scratch
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import optuna
import torch
from landscape import SETS, Floats, Landscape
from pydantic import BaseModel
from records import Records
from scipy.special import ndtr
from ways import NoMoreQuestionsError, Oracle, Task, gp_over_networks

from diffusion.nag.closed_form import product_score
from diffusion.nag.generator import Generator
from diffusion.nag.graphs import scaled
from diffusion.nag.guidance import GoodRank, Guide
from diffusion.nag.nasbench201 import CELLS, EDGES, OPERATIONS, nasbench201, number
from diffusion.nag.search.ensemble import normal_scores
from diffusion.nag.transfer import Conditioned, Episode, MetaTraining, SetConditioned, labelled, meta_train, told_labels
