"""What a study is: a W&B sweep file, with our additions under `tuner`, read, checked and put in words."""
