"""Data as plain tensors: points in the plane, 8x8 digits, MNIST, a folder of pictures of your own.

Points are `(n, 2)`, images `(N, C, H, W)` in [-1, 1], both float32.

    points     distributions in the plane, scaled by the moments of the population
    images     the record that holds images and labels; the 8x8 digits
    mnist      MNIST, from the disk or downloaded
    captions   a world of captions, and the pictures that they describe
    letters    the letters A to J in sixteen fonts, whose law is known
    pictures   a folder of pictures, cut to squares of one size, in a part to train on and one to test on
    audit      what is wrong with a folder: pictures that are alike, and pictures unlike all others
    video      films of a ball that bounces, and the measures of its physics
    mazes      mazes and a drunkard's walks in them
    downloads  files from the network: whole and checked, or one plain line that says why not
    places     where files of the course lie
"""

from minidiff.data.audit import Audit, Pair, audit, difference_hash, hash_distances, pixel_distances, unusual
from minidiff.data.images import Images, digits, to_images
from minidiff.data.letters import LETTERS, letters
from minidiff.data.mazes import LARGE_MAZE, SMALL_MAZE, Maze, maze
from minidiff.data.mnist import MIRRORS, MnistUnavailable, find_mnist, mnist, mnist_folders, read_idx
from minidiff.data.pictures import Pictures, PicturesUnfit, pictures
from minidiff.data.places import course_file
from minidiff.data.points import checkerboard, eight_gaussians, moons, pinwheel, rings, swiss_roll, three_gaussians

__all__ = [
    "LARGE_MAZE",
    "LETTERS",
    "MIRRORS",
    "SMALL_MAZE",
    "Audit",
    "Images",
    "Maze",
    "MnistUnavailable",
    "Pair",
    "Pictures",
    "PicturesUnfit",
    "audit",
    "checkerboard",
    "course_file",
    "difference_hash",
    "digits",
    "eight_gaussians",
    "find_mnist",
    "hash_distances",
    "letters",
    "maze",
    "mnist",
    "mnist_folders",
    "moons",
    "pictures",
    "pinwheel",
    "pixel_distances",
    "read_idx",
    "rings",
    "swiss_roll",
    "three_gaussians",
    "to_images",
    "unusual",
]
