"""Builds boot images from bootimages/ and board-configs/."""
