"""Data as plain tensors: points in the plane, 8x8 digits, MNIST, a folder of pictures of your own.

Points are `(n, 2)`, images `(N, C, H, W)` in [-1, 1], both float32.

    points     distributions in the plane, scaled by the moments of the population
    images     the record that holds images and labels; the 8x8 digits
    mnist      MNIST, from the disk or downloaded
    captions   a world of captions, and the pictures that they describe
    pictures   a folder of pictures, cut to squares of one size, in a part to train on and one to test on
    video      films of a ball that bounces, and the measures of its physics
    mazes      mazes and a drunkard's walks in them
    downloads  files from the network: whole and checked, or one plain line that says why not
    places     where files of the course lie
"""

from minidiff.data.images import Images, digits, to_images
from minidiff.data.mazes import LARGE_MAZE, SMALL_MAZE, Maze, maze
from minidiff.data.mnist import MIRRORS, MnistUnavailable, find_mnist, mnist, mnist_folders, read_idx
from minidiff.data.pictures import Pictures, PicturesUnfit, pictures
from minidiff.data.places import course_file
from minidiff.data.points import checkerboard, eight_gaussians, moons, pinwheel, rings, swiss_roll, three_gaussians

__all__ = [
    "LARGE_MAZE",
    "MIRRORS",
    "SMALL_MAZE",
    "Images",
    "Maze",
    "MnistUnavailable",
    "Pictures",
    "PicturesUnfit",
    "checkerboard",
    "course_file",
    "digits",
    "eight_gaussians",
    "find_mnist",
    "maze",
    "mnist",
    "mnist_folders",
    "moons",
    "pictures",
    "pinwheel",
    "read_idx",
    "rings",
    "swiss_roll",
    "three_gaussians",
    "to_images",
]
