"""The words of the group level."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_group_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of `bids_app BIDS_DIR OUTPUT_DIR group`; those that were not given are absent."""
    group.add_argument(
        "--profile-only",
        "--profile_only",
        action="store_true",
        help="describe the dataset from its headers and sidecars; nothing needs to be processed",
    )
    group.add_argument(
        "--also",
        nargs="+",
        metavar="[NAME=]DIR",
        help="further datasets beside this one: BIDS datasets, or outputs of bids_app",
    )
    group.add_argument("--dataset-name", "--dataset_name", metavar="NAME", help="what this dataset is called in tables")
    group.add_argument(
        "--participant-columns",
        "--participant_columns",
        nargs="+",
        metavar="COLUMN",
        help="columns of participants.tsv to be taken over beside age and sex; see that they identify nobody",
    )
    group.add_argument(
        "--compare",
        metavar="COLUMN",
        help="covariate shift between the groups of a column of the profile or of participants.tsv, such as "
        "manufacturer; by default, with --also, dataset",
    )
    group.add_argument(
        "--densenet-weights",
        "--densenet_weights",
        type=Path,
        metavar="FILE",
        help="weights of DenseNet121 for that (torchvision's or MONAI's names); else a descriptor that needs none",
    )
    group.add_argument(
        "--learn-nyul",
        "--learn_nyul",
        action="store_true",
        help="learn the landmarks of Nyul's normalisation, group_nyul.json, for --normalize nyul",
    )
    group.add_argument(
        "--read-voxels",
        "--read_voxels",
        action="store_true",
        help="read the images of which no quality numbers are known, for their intensities: slow",
    )
    group.add_argument(
        "--balance",
        nargs="+",
        metavar="COLUMN",
        help="columns whose groups the sampling weights make equal; by default dataset, modality and --compare's",
    )
    group.add_argument(
        "--maps",
        action="store_true",
        help="maps over participants in atlas space: mean and standard deviation of each kind of image, and how often "
        "a lesion is where",
    )
    group.add_argument(
        "--maps-by", "--maps_by", metavar="COLUMN", help="with --maps: for each value of a column of participants.tsv"
    )
    group.add_argument(
        "--maps-where",
        "--maps_where",
        nargs="+",
        metavar="COLUMN=VALUE",
        help="with --maps: of these participants only, such as group=control, or lesion=0: an empty lesion mask",
    )
