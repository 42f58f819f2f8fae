"""A simulated health economy: vacancies, people who compete for them, and all that makes real data untidy.

Pure: everything follows from the settings and the ``random.Random`` that is passed in. Nothing in it is a real person,
vacancy or employer; organisation codes begin with ``SIM-``.
"""
