"""Which destination the files of a batch go to."""

from batchgen.batch_folder import Folder
from batchgen.media.destination import Destination
from batchgen.media.local_folder import LocalFolder


def open_destination(folder: Folder) -> Destination:
    return LocalFolder(folder.path)
