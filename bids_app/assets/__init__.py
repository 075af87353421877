"""Weights and templates: where they are on this machine, and fetching what is not there.

Looking never touches the network and never creates a folder; fetching is asked for (`bids_app fetch`).
"""

from bids_app.assets.densenet import fetch_densenet, find_densenet
from bids_app.assets.fetching import AssetError, home
from bids_app.assets.hd_bet import HD_BET_LICENSE, HD_BET_URL, fetch_hd_bet, find_hd_bet_weights
from bids_app.assets.spaces import EMBEDDED, Space, find_space, load_space, space_grid
from bids_app.assets.template_flow import fetch_parcellation, fetch_space, is_parcellation

__all__ = [
    "EMBEDDED",
    "HD_BET_LICENSE",
    "HD_BET_URL",
    "AssetError",
    "Space",
    "fetch_densenet",
    "fetch_hd_bet",
    "fetch_parcellation",
    "fetch_space",
    "find_densenet",
    "find_hd_bet_weights",
    "find_space",
    "home",
    "is_parcellation",
    "load_space",
    "space_grid",
]
