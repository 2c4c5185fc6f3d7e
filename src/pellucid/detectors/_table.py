"""What is known of each detector without importing torch: written by ``python -m pellucid.detectors``."""
# fmt: off

from typing import Any

TABLE: dict[str, dict[str, Any]] = \
{'dfm': {'paper': 'DFM (Ahuja et al., "Probabilistic Modeling of Deep Features for Out-of-Distribution and '
                  'Adversarial Detection", arXiv 1909.11786, 2019), with the feature-reconstruction error of '
                  'its successor (Ndiour et al., arXiv 2012.04250).',
         'summary': 'PCA of pooled deep features; what the principal subspace cannot explain, or finds '
                    'unlikely, is anomalous.',
         'defaults': {'backbone': 'prism_s',
                      'layers': ('layer3',),
                      'weights': None,
                      'pooling_kernel_size': 4,
                      'pca_level': 0.97,
                      'score_type': 'fre',
                      'seed': 0},
         'source_sha256': 'a4ef3b851f00de0bdd4d96e54eb31c115f42914dfdd22c5809e2e9d046021699'},
 'fastflow': {'paper': 'FastFlow (Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via '
                       '2D Normalizing Flows", arXiv 2111.07677, 2021).',
              'summary': 'A normalising flow per feature level maps normal features to a standard normal; '
                         'unlikely is anomalous.',
              'defaults': {'backbone': 'prism_s',
                           'layers': ('layer1', 'layer2', 'layer3'),
                           'weights': None,
                           'flow_steps': 8,
                           'conv3x3_only': False,
                           'hidden_ratio': 1.0,
                           'epochs': 10,
                           'batch_size': 8,
                           'lr': 0.001,
                           'weight_decay': 1e-05,
                           'precision': 'auto',
                           'seed': 0},
              'source_sha256': '52594642b053a1cf4f3a929b28e1279b3342233d511388b04f1eefd2aa953ff3'},
 'padim': {'paper': 'PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework", ICPR 2020, '
                    'arXiv 2011.08785).',
           'summary': 'One Gaussian at every position; the Mahalanobis distance to it is the anomaly map.',
           'defaults': {'backbone': 'prism_s',
                        'layers': ('layer1', 'layer2', 'layer3'),
                        'weights': None,
                        'n_features': 100,
                        'epsilon': 0.01,
                        'seed': 0},
           'source_sha256': '14cf7a29c0717a0cfb7e5fb8fdd6107ea1b69bd97925a28f43136e5309762286'},
 'patchcore': {'paper': 'PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", '
                        'CVPR 2022, arXiv 2106.08265).',
               'summary': 'Memory of normal patches; a patch is as anomalous as it is far from the nearest '
                          'one remembered.',
               'defaults': {'backbone': 'prism_s',
                            'layers': ('layer2', 'layer3'),
                            'weights': None,
                            'coreset_sampling_ratio': 0.02,
                            'coreset_size': None,
                            'num_neighbors': 9,
                            'seed': 0},
               'source_sha256': '7d9fe6fa97a315d6ad31f7dea3f8b747220337322d941da737c55cc4a7a7c7c4'},
 'reverse_distillation': {'paper': 'Reverse distillation (Deng & Li, "Anomaly Detection via Reverse '
                                   'Distillation from One-Class Embedding", CVPR 2022, arXiv 2201.10703).',
                          'summary': "A decoder rebuilds the teacher's features from a narrow one-class "
                                     'embedding; what it cannot rebuild is anomalous.',
                          'defaults': {'backbone': 'prism_s',
                                       'layers': ('layer2', 'layer3'),
                                       'weights': None,
                                       'patchsize': 3,
                                       'epochs': 20,
                                       'batch_size': 8,
                                       'lr': 0.005,
                                       'precision': 'auto',
                                       'seed': 0},
                          'source_sha256': '5320416836ecbb0133e4a8326c2a8accfd19215df99a57a7a23b8493c5f71a99'},
 'stfpm': {'paper': 'STFPM (Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", '
                    'BMVC 2021, arXiv 2103.04257).',
           'summary': 'A student learns to agree with its frozen teacher on normal images; where it cannot, '
                      'something is new.',
           'defaults': {'backbone': 'prism_s',
                        'layers': ('layer1', 'layer2', 'layer3'),
                        'weights': None,
                        'distance': 'l2',
                        'epochs': 30,
                        'batch_size': 8,
                        'lr': 0.4,
                        'momentum': 0.9,
                        'weight_decay': 0.0001,
                        'precision': 'auto',
                        'seed': 0},
           'source_sha256': '7ae679b9e852f3d52a311dbe3b71aa45260f6d7e1d4784aada859cbd313a0130'}}
