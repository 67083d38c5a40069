"""What keeps a training alive and a course in order. No lesson, and no module that a lesson reads, imports it.

subjects    everything that can be trained, one record each
runs        train in a folder, and go on where it was cut off
snapshots   the whole state of a training, which survives a plug that is pulled
pace        how many threads, how many steps: what the clock decides
display     a progress bar, a log, pictures
evaluation  samples of a trained network, and how far they are from real ones
workers     several processes or machines that train one network
studio      a model that draws to order, for many at once
serve       orders over HTTP, a page for the browser
doctor      is everything in place on this machine?
handout     the notebooks in a folder of the reader's, and JupyterLab to open them
commands    the command line
labs        what is handed out to a class, collected, marked and returned
"""

__all__: list[str] = []
