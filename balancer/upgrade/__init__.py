"""Replace the running version by another one: releases, what is handed on, the rehearsal, the trial."""
