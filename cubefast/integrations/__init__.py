"""The core in other people's programs, where CubicCore itself is not enough: scikit-learn, a folder to publish."""
