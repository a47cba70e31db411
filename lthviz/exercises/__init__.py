"""The exercises of the lessons: one module a lesson, with checks that report and never raise.

In a notebook::

    from lthviz.exercises import magnitude as exercise

    exercise.check_magnitude_mask(magnitude_mask)  # shows what passed, and what to mend
    exercise.hint("magnitude_mask", 1)             # 1 idea, 2 first steps, 3 your mistake, 4 solution

Reference solutions are ordinary functions of the same modules, so every lesson goes on without them being
solved. A notebook names its module in its metadata, ``lthviz: {exercises: "magnitude"}``, and marks the
cell of each stub with ``lthviz: {exercise: "magnitude_mask"}``; from these :mod:`lthviz.exercises.solutions`
makes the solved notebook.
"""
