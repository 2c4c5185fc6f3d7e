"""What is known of each detector without importing torch: made by ``python -m pellucid.detectors``."""
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
         'source_sha256': 'c5fb7988a58d49c1887dea6a6d854e052d762617b98b96a2db2a4e5f76025a3c'},
 'efficientad': {'paper': 'EfficientAD (Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at '
                          'Millisecond-Level Latencies", WACV 2024, arXiv 2303.14535).',
                 'summary': 'A student that cannot follow its teacher shows local flaws, one that cannot '
                            'follow an autoencoder logical ones.',
                 'defaults': {'backbone': 'pdn_s',
                              'layers': ('layer1',),
                              'weights': None,
                              'p_hard': 0.999,
                              'penalty_images': 256,
                              'epochs': 40,
                              'batch_size': 2,
                              'lr': 0.0001,
                              'weight_decay': 1e-05,
                              'precision': 'auto',
                              'seed': 0},
                 'source_sha256': '112406d7afc2967ceeac5fe1a6fce3df78ef2cdf09f3805157e8d4ee5e300805'},
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
              'source_sha256': '60518321b0b780ee7e510ea6abc058ee4c8247eb092793f6ac07988afcecfc92'},
 'padim': {'paper': 'PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework", ICPR 2020, '
                    'arXiv 2011.08785).',
           'summary': 'One Gaussian at every position; the Mahalanobis distance to it is the anomaly map.',
           'defaults': {'backbone': 'prism_s',
                        'layers': ('layer1', 'layer2', 'layer3'),
                        'weights': None,
                        'n_features': 100,
                        'epsilon': 0.01,
                        'image_score': 'top',
                        'seed': 0},
           'source_sha256': '0bdf55bccf3a5eeef3768422372bc33a4b13ac9e5e81d40efbca2ee6fd2d3360'},
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
                            'image_score': 'top',
                            'seed': 0},
               'source_sha256': '0bfc2855181aed9d7cd2ded0fa35d860ce9bfb1cdb00f884e09c068e8dee4f13'},
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
                          'source_sha256': 'd24b690e28398990ee61ea3dd782068d89bd191a7e61c7ce5f65decdcb64fdba'},
 'stfpm': {'paper': 'STFPM (Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", '
                    'BMVC 2021, arXiv 2103.04257).',
           'summary': 'A student learns to agree with its frozen teacher on normal images; where it cannot, '
                      'something is new.',
           'defaults': {'backbone': 'prism_s',
                        'layers': ('layer1', 'layer2', 'layer3'),
                        'weights': None,
                        'combine': 'product',
                        'epochs': 30,
                        'batch_size': 8,
                        'lr': 0.4,
                        'momentum': 0.9,
                        'weight_decay': 0.0001,
                        'precision': 'auto',
                        'seed': 0},
           'source_sha256': '49a83b8f618f46a66b97b33779b2e00b1cdc963cf24a66c4b7cba802cb364f31'},
 'subspace': {'paper': 'SubspaceAD (Lendering et al., "SubspaceAD: Training-Free Few-Shot Anomaly Detection '
                       'via Subspace Modeling", 2026, arXiv 2602.23013).',
              'summary': 'One principal subspace of all normal patches; what it cannot explain of a patch is '
                         'anomalous.',
              'defaults': {'backbone': 'prism_s',
                           'layers': ('layer2', 'layer3'),
                           'weights': None,
                           'patchsize': 3,
                           'pca_level': 0.99,
                           'rotations': 1,
                           'image_score': 'top',
                           'seed': 0},
              'source_sha256': '656a32d4ad3c3de8517a935aa6a2aa08960866041114c6d2c1d9d016bcda63cc'}}
