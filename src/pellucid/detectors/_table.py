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
         'source_sha256': '025336ec1854255e00ad944fb0a78d293c34800bf526cf25e1df414a3beaba44'},
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
              'source_sha256': '68ac4d68e5fbf1477eef9800a7e3c79300a81264af819deb260cfb758b39bc02'},
 'padim': {'paper': 'PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework", ICPR 2020, '
                    'arXiv 2011.08785).',
           'summary': 'One Gaussian at every position; the Mahalanobis distance to it is the anomaly map.',
           'defaults': {'backbone': 'prism_s',
                        'layers': ('layer1', 'layer2', 'layer3'),
                        'weights': None,
                        'n_features': 100,
                        'epsilon': 0.01,
                        'seed': 0},
           'source_sha256': '6f9ddfd70283fba981dfa9d519186018f69b5d98510fe71c7aa6b2f92895b4a8'},
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
               'source_sha256': '9a716f7b66f88948647b6c0120989e959f5febba26bea54cf9df1345f294bb8e'},
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
                          'source_sha256': '364539a1908c05e2a421b23c12290b6cb86af78a5479ce868a137f0bc4534073'},
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
           'source_sha256': '49a83b8f618f46a66b97b33779b2e00b1cdc963cf24a66c4b7cba802cb364f31'}}
