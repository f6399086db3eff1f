import numpy as np, sys
F=dict(np.load(sys.argv[1])); 
from sklearn.metrics import roc_auc_score
for k in ('validation','held_out','test'): print(k,'AUC',roc_auc_score(F['y_'+k],F[k][:,0]))
sizes=[32,24,40,112,320,1280]; o=np.cumsum([1]+sizes)
names=['stem','s24','s40','s112','s320','emb']
def sel(X,ix): return np.concatenate([X[:,o[i]:o[i+1]] for i in ix],1)
def fit(X,y,shrink,k,std=True):
    mu=X.mean(0); sd=X.std(0)+1e-6 if std else np.ones(X.shape[1]); Z=(X-mu)/sd
    m=np.stack([Z[y==c].mean(0) for c in (0,1)]); R=Z-m[y]
    C=R.T@R/len(R); C=(1-shrink)*C+shrink*np.trace(C)/len(C)*np.eye(len(C))
    w,V=np.linalg.eigh(C); W=V/np.sqrt(w)
    if k>0: W=W[:,-k:]
    if k<0: W=W[:,:-k]
    def d(X):
        Z=(X-mu)/sd; return np.stack([np.sqrt((((Z-mm)@W)**2).sum(1)) for mm in m],1).min(1)
    return d
for ix in ([5],[4],[3],[2],[3,4],[2,3],[1,2,3],[2,3,5],[1,2,3,4],[1,2,3,4,5]):
  for shrink in (0.01,0.1,0.3):
    d=fit(sel(F['training'],ix),F['y_training'],shrink,0)
    cal=np.concatenate([d(sel(F[k],ix)) for k in ('validation','calibration')]); t=np.quantile(cal,.99)
    print([names[i] for i in ix],shrink,' '.join(f"{k}:{(d(sel(F[k],ix))>t).mean():.3f}" for k in ('training','held_out','test','originals','mnist','cifar','photos','inverted','rot90','rot180','noise','blank')))
