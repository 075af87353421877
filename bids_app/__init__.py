"""bids_app: from any BIDS dataset of brain MRI to anonymised, standardised, quality-controlled derivatives."""

__version__ = "0.1.0"
